package nodeidentity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcertificatesv1 "k8s.io/client-go/kubernetes/typed/certificates/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/hub/join"
)

// KindLabel on a Secret names its kind.
const (
	KindLabel   = "edgekit.io/kind"
	KindToken   = "token"   // a join token
	KindNode    = "node"    // the claim of a node's name
	KindRevoked = "revoked" // a key that was made worthless
	KindCA      = "ca"      // the certificate authorities
)

// maxTries is how often a lost race is run again.
const maxTries = 5

// Config sets up a Store. Client is required.
type Config struct {
	Client    kubernetes.Interface
	Namespace string // of the Secrets; empty means install.Namespace
	// MaxWaiting is how many machines may wait for an approval; 0 means
	// DefaultMaxWaiting. Each has used a token of its own.
	MaxWaiting int
}

// Store is all that package join wants stored, in the API server. Its methods
// may be called by several goroutines, and in several programs, at once.
type Store struct {
	cfg      Config
	secrets  typedcorev1.SecretInterface
	requests typedcertificatesv1.CertificateSigningRequestInterface
}

var (
	_ join.Tokens      = (*Store)(nil)
	_ join.Names       = (*Store)(nil)
	_ join.KeyReplacer = (*Store)(nil)
	_ join.FreedNames  = (*Store)(nil)
	_ join.Ledger      = (*Store)(nil)
	_ join.RevokedKeys = (*Store)(nil)
	_ join.Approvals   = (*Store)(nil)
	_ join.Lives       = (*Store)(nil)
)

// New checks the configuration.
func New(cfg Config) (*Store, error) {
	if cfg.Client == nil {
		return nil, errors.New("nodeidentity: Config.Client is required")
	}
	if cfg.Namespace == "" {
		cfg.Namespace = install.Namespace
	}
	if cfg.MaxWaiting < 0 {
		return nil, errors.New("nodeidentity: Config.MaxWaiting must not be negative: leave it 0 for the default")
	}
	if cfg.MaxWaiting == 0 {
		cfg.MaxWaiting = DefaultMaxWaiting
	}
	return &Store{
		cfg: cfg, secrets: cfg.Client.CoreV1().Secrets(cfg.Namespace), requests: cfg.Client.CertificatesV1().CertificateSigningRequests(),
	}, nil
}

// secret returns a Secret of that kind, to be created.
func (s *Store) secret(name, kind string, data map[string]string) *corev1.Secret {
	raw := make(map[string][]byte, len(data))
	for k, v := range data {
		raw[k] = []byte(v)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.cfg.Namespace, Name: name, Labels: map[string]string{KindLabel: kind}},
		Type:       corev1.SecretType("edgekit.io/" + kind),
		Data:       raw,
	}
}

// secretName returns the name of the Secret for something that is named itself.
// A name that gets too long by that is replaced by its hash.
func secretName(kind, name string) string {
	full := "edgekit-" + kind + "-" + name
	if len(full) <= 253 {
		return full
	}
	sum := sha256.Sum256([]byte(name))
	return "edgekit-" + kind + "-" + hex.EncodeToString(sum[:])
}

// lowerAlphanumeric reports that s can be part of a Secret's name as it is.
func lowerAlphanumeric(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}
