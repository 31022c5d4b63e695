package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/hub/join"
)

// KindLabel on a Secret says what it is: KindToken, KindNode or KindCA.
const (
	KindLabel = "edgekit.io/kind"
	KindToken = "token"
	KindNode  = "node"
	KindCA    = "ca"
)

const (
	caName = "edgekit-ca"
	// tries is how often a lost race is run again.
	tries = 5
)

// Config sets up a Store. Client is required.
type Config struct {
	Client    kubernetes.Interface
	Namespace string // of the Secrets; empty means install.Namespace
}

// Store is a join.Tokens and a join.Names in the API server. Its methods may be
// called by several goroutines, and in several programs, at once.
type Store struct {
	cfg     Config
	secrets typedcorev1.SecretInterface
}

var (
	_ join.Tokens = (*Store)(nil)
	_ join.Names  = (*Store)(nil)
)

// New checks the configuration.
func New(cfg Config) (*Store, error) {
	if cfg.Client == nil {
		return nil, errors.New("identity: Config.Client is required")
	}
	if cfg.Namespace == "" {
		cfg.Namespace = install.Namespace
	}
	return &Store{cfg: cfg, secrets: cfg.Client.CoreV1().Secrets(cfg.Namespace)}, nil
}

// CA loads the certificate authority, or makes it if there is none. Of several
// programs that do so at once, all get the same.
func (s *Store) CA(ctx context.Context) (*join.CA, error) {
	for range tries {
		secret, err := s.secrets.Get(ctx, caName, metav1.GetOptions{})
		if err == nil {
			ca, err := join.LoadCA(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
			if err != nil {
				return nil, fmt.Errorf("identity: secret %s/%s: %w", s.cfg.Namespace, caName, err)
			}
			return ca, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("identity: read secret %s/%s: %w", s.cfg.Namespace, caName, err)
		}
		ca, err := join.NewCA("edgekit", time.Now())
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		key, err := ca.KeyPEM()
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		fresh := s.secret(caName, KindCA, map[string]string{
			corev1.TLSCertKey: string(ca.CertificatePEM()), corev1.TLSPrivateKeyKey: string(key),
		})
		fresh.Type = corev1.SecretTypeTLS
		_, err = s.secrets.Create(ctx, fresh, metav1.CreateOptions{})
		if err == nil {
			return ca, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("identity: create secret %s/%s: %w", s.cfg.Namespace, caName, err)
		}
	}
	return nil, fmt.Errorf("identity: secret %s/%s comes and goes", s.cfg.Namespace, caName)
}

// secret gives a Secret of that kind, to be created.
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

// secretName gives the name of the Secret for something that is named itself.
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
