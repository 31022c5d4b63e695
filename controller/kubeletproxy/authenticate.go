package kubeletproxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	caRefresh = time.Minute     // how often the clients' authorities are read again
	caRetry   = 2 * time.Second // after they could not be read
	maxCached = 4096            // answers kept; one more empties the cache
)

// user is an authenticated client.
type user struct {
	name   string
	uid    string
	groups []string
	extra  map[string]authenticationv1.ExtraValue
}

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
	warned := false
	for {
		wait := caRefresh
		if err := a.refresh(ctx); err != nil && ctx.Err() == nil {
			wait = caRetry
			if !warned {
				a.log.Warn("the authorities of the API server's clients cannot be read; certificates are checked against the last known ones", "err", err)
			}
			warned = true
		} else {
			warned = false
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
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
func (a *authenticator) authenticate(r *http.Request) (user, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return a.certificate(r.TLS.PeerCertificates, time.Now())
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") && token != "" {
		return a.tokens.user(r.Context(), strings.TrimSpace(token), r.RemoteAddr)
	}
	return user{}, errAnonymous
}

func (a *authenticator) certificate(chain []*x509.Certificate, now time.Time) (user, error) {
	a.mu.Lock()
	roots := a.roots
	a.mu.Unlock()
	if roots == nil {
		return user{}, errors.New("unauthorized: cloudcore has not yet read the authorities of clients")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	leaf := chain[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return user{}, fmt.Errorf("unauthorized: client certificate: %w", err)
	}
	if leaf.Subject.CommonName == "" {
		return user{}, errors.New("unauthorized: the client certificate has no common name")
	}
	return user{name: leaf.Subject.CommonName, groups: append([]string{"system:authenticated"}, leaf.Subject.Organization...)}, nil
}

// answerCache keeps answers until they are stale. The zero value is empty; its owner
// locks it.
type answerCache[K comparable, V any] struct {
	items map[K]cached[V]
}

type cached[V any] struct {
	value V
	until time.Time
}

func (c *answerCache[K, V]) get(k K, now time.Time) (V, bool) {
	item, ok := c.items[k]
	if !ok || !now.Before(item.until) {
		var none V
		return none, false
	}
	return item.value, true
}

func (c *answerCache[K, V]) put(k K, v V, until time.Time) {
	if c.items == nil || len(c.items) >= maxCached {
		c.items = make(map[K]cached[V])
	}
	c.items[k] = cached[V]{v, until}
}
