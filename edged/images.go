package edged

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/internal/imagepull"
	"github.com/edgekit/edgekit/edged/internal/registry"
)

// ImageVerification is the kubelet's imagePullCredentialsVerificationPolicy
// (KEP-2535): which images of the node a pod may have with the pull policies
// IfNotPresent and Never. A pod that may not have an image pulls it again with its
// own credentials.
type ImageVerification string

// The values of an ImageVerification.
const (
	// NeverVerify gives all images to all pods.
	NeverVerify ImageVerification = "NeverVerify"
	// NeverVerifyPreloadedImages gives to all pods the images that were not pulled
	// by the agent, and those that it pulled without credentials. Any other goes
	// to a pod with credentials that it was pulled with.
	NeverVerifyPreloadedImages ImageVerification = "NeverVerifyPreloadedImages"
	// NeverVerifyAllowlistedImages gives to all pods the images that
	// Config.PreloadedImagesAllowlist names, and those that were pulled without
	// credentials. Any other goes to a pod with credentials that it was pulled with.
	NeverVerifyAllowlistedImages ImageVerification = "NeverVerifyAllowlistedImages"
	// AlwaysVerify is NeverVerifyPreloadedImages without the exception of images that were
	// not pulled.
	AlwaysVerify ImageVerification = "AlwaysVerify"
)

// CredentialSource gives credentials for images that are not in a pod's pull secrets.
// image.ConfigFiles and credentialprovider.Providers are two.
//
// It may have the method Sources(ctx, pod, ref) []image.Source besides, which says from which
// objects the credentials would come without getting them. With it a pod keeps the images of
// its service account while no credentials can be had, such as without a link.
type CredentialSource interface {
	// Credentials lists the credentials for an image that a pod needs, the best first. An
	// error, which may come with some, is logged; the pull is tried without the others. It
	// may be called by several goroutines.
	Credentials(ctx context.Context, pod *corev1.Pod, ref image.Ref) ([]image.Credential, error)
}

// checkImages checks what concerns images.
func (c Config) checkImages() error {
	switch c.ImageVerification {
	case "", NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages, AlwaysVerify:
	default:
		return fmt.Errorf("edged: Config.ImageVerification is %q: use NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages or AlwaysVerify", c.ImageVerification)
	}
	switch {
	case len(c.PreloadedImagesAllowlist) > 0 && c.ImageVerification != NeverVerifyAllowlistedImages:
		return errors.New("edged: Config.PreloadedImagesAllowlist has no effect: set Config.ImageVerification to NeverVerifyAllowlistedImages, or leave the list out")
	case c.RegistryPullQPS < 0:
		return fmt.Errorf("edged: Config.RegistryPullQPS is %v: it must not be negative; 0 means any number", c.RegistryPullQPS)
	case c.RegistryBurst < 0:
		return fmt.Errorf("edged: Config.RegistryBurst is %d: it must not be negative; 0 means 10", c.RegistryBurst)
	}
	if _, err := image.ParseAllowlist(c.PreloadedImagesAllowlist); err != nil {
		return fmt.Errorf("edged: Config.PreloadedImagesAllowlist: %w", err)
	}
	for i, source := range c.Credentials {
		if source == nil {
			return fmt.Errorf("edged: Config.Credentials[%d] is nil: leave it out", i)
		}
	}
	return nil
}

// newPuller makes what brings images to the node.
func (a *Agent) newPuller() *imagepull.Puller {
	cfg := &a.cfg
	pull := imagepull.Config{
		Images: cfg.Runtime, Secrets: cfg.Objects, Events: a.events, Pulls: image.NewPulls(filepath.Join(cfg.Root, "pulls")), Registries: registry.New(cfg.DialRegistry),
		Offline: cfg.OfflineImages == On, MaxPulls: cfg.MaxPulls, Pulled: a.imagePulled, Settle: a.disk.settleImages, Logger: a.log,
		QPS: cfg.RegistryPullQPS, Burst: cfg.RegistryBurst,
	}
	for _, source := range cfg.Credentials {
		pull.Credentials = append(pull.Credentials, source)
	}
	switch cfg.ImageVerification {
	case NeverVerify:
		pull.Trust = imagepull.TrustAll
	case AlwaysVerify:
		pull.Trust = imagepull.TrustPulled
	case NeverVerifyAllowlistedImages:
		pull.Trust = imagepull.TrustListed
		pull.Allowlist, _ = image.ParseAllowlist(cfg.PreloadedImagesAllowlist) // Config.check parsed it
	}
	return imagepull.New(pull)
}

// imagePulled is called after an image of so many bytes was pulled.
func (a *Agent) imagePulled(size uint64, took time.Duration) {
	a.metrics.ImagePulled(size, took)
	a.node.RefreshImages()
}

// PullImage brings an image to the node before a pod names it. secrets are pull secrets
// for it; the node's own credentials (Config.Credentials) are tried too. Pulls of pods and
// these share Config.MaxPulls. An image that is there is not pulled again, unless its tag is
// "latest" or it came with other credentials. A pod without such credentials does not get
// the image by this. Config.ImageGC.InUse must name the image, or it is removed when the
// disk is full. The error has no credentials in it.
func (a *Agent) PullImage(ctx context.Context, image string, secrets []*corev1.Secret) error {
	_, err := a.images.PullAhead(ctx, image, secrets)
	return err
}
