package credentialprovider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// APIVersion is the version of requests and responses whose tokenAttributes work.
const APIVersion = "credentialprovider.kubelet.k8s.io/v1"

// apiVersions are those of requests and responses. Older ones have the same fields, but
// for tokens.
func apiVersions() []string {
	return []string{APIVersion, "credentialprovider.kubelet.k8s.io/v1beta1", "credentialprovider.kubelet.k8s.io/v1alpha1"}
}

// How long answers for service accounts are kept; see TokenAttributes.CacheType.
const (
	CacheByAccount = "ServiceAccount" // for all tokens of the account
	CacheByToken   = "Token"          // for one token
)

// maxConfig bounds a configuration file in bytes.
const maxConfig = 1 << 20

// Provider is one provider in a CredentialProviderConfig.
type Provider struct {
	Name                 string           `json:"name"`                 // of the program in Config.BinDir
	MatchImages          []string         `json:"matchImages"`          // registries, with globs in the host, that it is asked about
	DefaultCacheDuration *metav1.Duration `json:"defaultCacheDuration"` // for answers that do not say; required
	APIVersion           string           `json:"apiVersion"`           // of requests and responses
	Args                 []string         `json:"args,omitempty"`
	Env                  []EnvVar         `json:"env,omitempty"` // besides the agent's own
	TokenAttributes      *TokenAttributes `json:"tokenAttributes,omitempty"`
}

// EnvVar is a variable of a program's environment.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TokenAttributes ask for a token of the pod's service account in each request (KEP-4412).
type TokenAttributes struct {
	ServiceAccountTokenAudience          string   `json:"serviceAccountTokenAudience"`
	CacheType                            string   `json:"cacheType"`             // CacheByAccount or CacheByToken
	RequireServiceAccount                *bool    `json:"requireServiceAccount"` // pods without an account are not asked about; required
	RequiredServiceAccountAnnotationKeys []string `json:"requiredServiceAccountAnnotationKeys,omitempty"`
	OptionalServiceAccountAnnotationKeys []string `json:"optionalServiceAccountAnnotationKeys,omitempty"`
}

// Accounts reads service accounts and their tokens; meta/kube.Client is one.
type Accounts interface {
	// ServiceAccount reads a service account; without a link as it was last.
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	// Token is that of edged.Objects.
	Token(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Config sets up Providers. Providers and BinDir are required.
type Config struct {
	Providers []Provider // asked in order
	BinDir    string     // folder of their programs, an absolute path
	Accounts  Accounts   // required where a provider has TokenAttributes
	Logger    *slog.Logger
}

// Read reads a CredentialProviderConfig (kubelet.config.k8s.io, YAML or JSON), or all those
// in a folder in the order of their names, and looks that the programs are in binDir.
func Read(path, binDir string) (Config, error) {
	files := []string{path}
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, fmt.Errorf("credentialprovider: %w", err)
	}
	if info.IsDir() {
		if files, err = configFiles(path); err != nil {
			return Config{}, err
		}
	}
	cfg := Config{BinDir: binDir}
	for _, name := range files {
		list, err := readFile(name)
		if err != nil {
			return Config{}, fmt.Errorf("credentialprovider: %s: %w", name, err)
		}
		cfg.Providers = append(cfg.Providers, list...)
	}
	if err := cfg.check(); err != nil {
		return Config{}, fmt.Errorf("%w in %s", err, path)
	}
	for _, p := range cfg.Providers {
		if _, err := exec.LookPath(filepath.Join(binDir, p.Name)); err != nil {
			return Config{}, fmt.Errorf("credentialprovider: provider %q: %w", p.Name, err)
		}
	}
	return cfg, nil
}

// configFiles lists the files of a folder that are configurations.
func configFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("credentialprovider: %w", err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("credentialprovider: the folder %s has no .json, .yaml or .yml file", dir)
	}
	return files, nil
}

func readFile(name string) ([]Provider, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("is longer than %d bytes", maxConfig)
	}
	return parseConfig(text)
}

func parseConfig(text []byte) ([]Provider, error) {
	var file struct {
		metav1.TypeMeta `json:",inline"`
		Providers       []Provider `json:"providers"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, err
	}
	group, version, _ := strings.Cut(file.APIVersion, "/")
	if file.Kind != "CredentialProviderConfig" || group != "kubelet.config.k8s.io" || !slices.Contains([]string{"v1", "v1beta1", "v1alpha1"}, version) {
		return nil, fmt.Errorf("is a %s of %s: want kind CredentialProviderConfig, apiVersion kubelet.config.k8s.io/v1", file.Kind, file.APIVersion)
	}
	return file.Providers, nil
}

func (c Config) check() error {
	if !filepath.IsAbs(c.BinDir) {
		return fmt.Errorf("credentialprovider: Config.BinDir %q is not an absolute path", c.BinDir)
	}
	if len(c.Providers) == 0 {
		return errors.New("credentialprovider: there are no providers")
	}
	seen := make(map[string]bool)
	for _, p := range c.Providers {
		if err := p.check(); err != nil {
			return fmt.Errorf("credentialprovider: provider %q: %w", p.Name, err)
		}
		if seen[p.Name] {
			return fmt.Errorf("credentialprovider: there are two providers %q: leave one out", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

func (p Provider) check() error {
	switch {
	case p.Name == "" || p.Name == "." || p.Name == ".." || strings.ContainsAny(p.Name, "/\\ "):
		return errors.New("name must be that of a program in the folder of the providers")
	case !slices.Contains(apiVersions(), p.APIVersion):
		return fmt.Errorf("apiVersion %q: use one of %s", p.APIVersion, strings.Join(apiVersions(), ", "))
	case len(p.MatchImages) == 0 || slices.Contains(p.MatchImages, ""):
		return errors.New("matchImages must name one registry or more, and none may be empty")
	case p.DefaultCacheDuration == nil:
		return errors.New("defaultCacheDuration is required: 0s keeps nothing")
	case p.DefaultCacheDuration.Duration < 0:
		return errors.New("defaultCacheDuration must not be negative")
	case p.TokenAttributes == nil:
		return nil
	case p.APIVersion != APIVersion:
		return fmt.Errorf("tokenAttributes need the apiVersion %s", APIVersion)
	}
	return p.TokenAttributes.check()
}

func (a *TokenAttributes) check() error {
	switch {
	case a.ServiceAccountTokenAudience == "":
		return errors.New("tokenAttributes.serviceAccountTokenAudience is required")
	case a.CacheType != CacheByAccount && a.CacheType != CacheByToken:
		return fmt.Errorf("tokenAttributes.cacheType %q: use %s or %s", a.CacheType, CacheByAccount, CacheByToken)
	case a.RequireServiceAccount == nil:
		return errors.New("tokenAttributes.requireServiceAccount is required")
	case !*a.RequireServiceAccount && len(a.RequiredServiceAccountAnnotationKeys) > 0:
		return errors.New("tokenAttributes.requiredServiceAccountAnnotationKeys need requireServiceAccount: true")
	}
	seen := make(map[string]bool)
	for _, key := range slices.Concat(a.RequiredServiceAccountAnnotationKeys, a.OptionalServiceAccountAnnotationKeys) {
		if errs := validation.IsQualifiedName(strings.ToLower(key)); len(errs) > 0 {
			return fmt.Errorf("tokenAttributes: annotation key %q: %s", key, errs[0])
		}
		if seen[key] {
			return fmt.Errorf("tokenAttributes: the annotation key %q is there twice", key)
		}
		seen[key] = true
	}
	return nil
}
