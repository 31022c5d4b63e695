package kubeletproxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/auth"
)

// authenticator authenticates clients.
type authenticator struct {
	clientCA func(context.Context) ([]byte, error)
	log      *slog.Logger

	tokens *tokens

	mu    sync.Mutex
	roots *x509.CertPool // nil until read
}

func newAuthenticator(cfg Config) *authenticator {
	return &authenticator{clientCA: cfg.ClientCA, log: cfg.Logger, tokens: newTokens(cfg.Cloud, cfg.Logger)}
}

// clusterClientCA reads the authorities of the API server's own clients.
func clusterClientCA(client kubernetes.Interface) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		const name, key = "extension-apiserver-authentication", "client-ca-file"
		m, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("config map %s/%s: %w", metav1.NamespaceSystem, name, err)
		}
		if m.Data[key] == "" {
			return nil, fmt.Errorf("config map %s/%s has no %s: the API server runs without --client-ca-file", metav1.NamespaceSystem, name, key)
		}
		return []byte(m.Data[key]), nil
	}
}

// run keeps the authorities of clients fresh until ctx ends.
func (a *authenticator) run(ctx context.Context) {
	auth.KeepFresh(ctx, a.refresh, func(err error) {
		a.log.Warn("the authorities of the API server's clients cannot be read; certificates are checked against the last known ones", "err", err)
	})
}

func (a *authenticator) refresh(ctx context.Context) error {
	pem, err := a.clientCA(ctx)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New("no certificate in the authorities of clients")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roots = roots
	return nil
}

// errAnonymous is the answer to a client without credentials.
var errAnonymous = errors.New("unauthorized: a client certificate of the cluster or a bearer token is required")

// authenticate finds the user who sent a request.
func (a *authenticator) authenticate(r *http.Request) (authenticationv1.UserInfo, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return a.certificate(r.TLS.PeerCertificates)
	}
	if token := auth.BearerToken(r); token != "" {
		return a.tokens.user(r.Context(), token, r.RemoteAddr)
	}
	return authenticationv1.UserInfo{}, errAnonymous
}

func (a *authenticator) certificate(chain []*x509.Certificate) (user authenticationv1.UserInfo, err error) {
	a.mu.Lock()
	roots := a.roots
	a.mu.Unlock()
	if roots == nil {
		return user, errors.New("unauthorized: cloudcore has not yet read the authorities of clients")
	}
	if err := auth.VerifyClient(roots, chain); err != nil {
		return user, fmt.Errorf("unauthorized: client certificate: %w", err)
	}
	subject := chain[0].Subject
	if subject.CommonName == "" {
		return user, errors.New("unauthorized: the client certificate has no common name")
	}
	return authenticationv1.UserInfo{Username: subject.CommonName, Groups: append([]string{"system:authenticated"}, subject.Organization...)}, nil
}
