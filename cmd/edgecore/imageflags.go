package main

import (
	"log/slog"
	"os"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/credentialprovider"
	"github.com/edgekit/edgekit/edged/image"
)

// imageFlags are the settings of pulls of images. They have the names of the kubelet's
// flags or, where there is none, of the KubeletConfiguration.
type imageFlags struct {
	OfflineImages          bool     `help:"While the registry is out of reach, start containers with the pull policy Always from the image on the node. A pod needs credentials that this image was pulled with before. --no-offline-images turns this off." default:"true" negatable:""`
	ImageVerification      string   `help:"Which images on the node a pod may use without a pull. NeverVerify: all. NeverVerifyPreloadedImages: those that the agent did not pull, those pulled without credentials or with those of the node, and others with credentials that the image was pulled with. NeverVerifyAllowlistedImages: the same, but of those that the agent did not pull only the ones of --preloaded-images-verification-allowlist. AlwaysVerify: the same, but not those that the agent did not pull. It is the kubelet's imagePullCredentialsVerificationPolicy." default:"NeverVerifyPreloadedImages" enum:"NeverVerify,NeverVerifyPreloadedImages,NeverVerifyAllowlistedImages,AlwaysVerify" name:"image-pull-credentials-verification"`
	PreloadedAllowlist     []string `help:"Images, without tags, that NeverVerifyAllowlistedImages gives to all pods; a last part /* stands for all below." name:"preloaded-images-verification-allowlist" placeholder:"IMAGE,..."`
	RegistryConfig         []string `help:"Docker configuration files with registry credentials for all pods; the first that can be read counts. Default: where a kubelet looks, in /var/lib/kubelet, ~/.docker and /.docker. Empty: none." default:"default" placeholder:"FILE,..."`
	CredentialProviders    string   `help:"Configuration of credential providers (CredentialProviderConfig), or a folder of such files." name:"image-credential-provider-config" placeholder:"FILE"`
	CredentialProviderDir  string   `help:"Folder of the programs of --image-credential-provider-config." name:"image-credential-provider-bin-dir" placeholder:"DIR"`
	SerializeImagePulls    bool     `help:"Pull one image at a time."`
	MaxParallelImagePulls  int      `help:"How many images are pulled at the same time. Default: 3, or 1 with --serialize-image-pulls." placeholder:"N"`
	RegistryPullsPerSecond float64  `help:"How many pulls may begin per second on average; one beyond that waits. 0: any number." default:"5" name:"registry-qps"`
	RegistryBurst          int      `help:"How many pulls may begin at once, whatever --registry-qps says." default:"10" name:"registry-burst"`
}

// setImages puts the settings into the agent's.
func (f *imageFlags) setImages(cfg *edged.Config, accounts credentialprovider.Accounts, log *slog.Logger) error {
	cfg.OfflineImages, cfg.ImageVerification = toggle(f.OfflineImages), edged.ImageVerification(f.ImageVerification)
	cfg.PreloadedImagesAllowlist, cfg.RegistryPullQPS, cfg.RegistryBurst = f.PreloadedAllowlist, f.RegistryPullsPerSecond, f.RegistryBurst
	cfg.MaxPulls = f.MaxParallelImagePulls
	switch {
	case f.MaxParallelImagePulls < 0:
		return &program.UsageError{Setting: "max-parallel-image-pulls", Reason: "it must not be negative"}
	case f.SerializeImagePulls && f.MaxParallelImagePulls > 1:
		return &program.UsageError{Setting: "max-parallel-image-pulls", Reason: "it is more than 1 although serialize-image-pulls is set: leave one out"}
	case f.RegistryBurst < 1 && f.RegistryPullsPerSecond > 0:
		return &program.UsageError{Setting: "registry-burst", Reason: "it must be 1 or more where registry-qps is set"}
	case (f.CredentialProviders == "") != (f.CredentialProviderDir == ""):
		return &program.UsageError{Setting: "image-credential-provider-config", Reason: "it goes with image-credential-provider-bin-dir: give both or none"}
	case f.SerializeImagePulls:
		cfg.MaxPulls = 1
	}
	if files := f.configFiles(); len(files) > 0 {
		cfg.Credentials = append(cfg.Credentials, files)
	}
	if f.CredentialProviders == "" {
		return nil
	}
	read, err := credentialprovider.Read(f.CredentialProviders, f.CredentialProviderDir)
	if err != nil {
		return &program.UsageError{Setting: "image-credential-provider-config", Reason: err.Error()}
	}
	read.Accounts, read.Logger = accounts, log
	providers, err := credentialprovider.New(read)
	if err != nil {
		return err
	}
	cfg.Credentials = append(cfg.Credentials, providers)
	return nil
}

// configFiles are the docker configuration files.
func (f *imageFlags) configFiles() image.ConfigFiles {
	switch {
	case len(f.RegistryConfig) != 1:
	case f.RegistryConfig[0] == "default":
		home, _ := os.UserHomeDir() // without one there is nothing to look at
		return image.DefaultConfigFiles("/var/lib/kubelet", home)
	case f.RegistryConfig[0] == "":
		return nil
	}
	return f.RegistryConfig
}
