package nodeapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

const (
	// issuerSecret is the Secret with which cloudcores agree on the issuer's version: the keys have
	// no version of their own, and all cloudcores must give a node the same one. It is a Secret
	// although its content is public, because whoever may write it decides which tokens nodes
	// accept.
	issuerSecret = "serviceaccount-issuer"
	issuerField  = "issuer.json"

	issuerEvery = 5 * time.Minute
	issuerRetry = 10 * time.Second
)

// issuer keeps what nodes need to check service account tokens.
type issuer struct {
	cfg     Config
	changed func()

	mu      sync.Mutex
	body    []byte
	version string
	ready   chan struct{} // closed when body is known
}

// known is closed when the issuer is.
func (i *issuer) known() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.readyLocked()
}

func (i *issuer) readyLocked() chan struct{} {
	if i.ready == nil {
		i.ready = make(chan struct{})
	}
	return i.ready
}

func (i *issuer) load() (body []byte, version string, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.body, i.version, i.version != ""
}

// run checks every issuerEvery whether the API server's keys have changed.
func (i *issuer) run(ctx context.Context) {
	for failed := false; ; {
		again := issuerEvery
		err := i.refresh(ctx)
		if err != nil {
			again = issuerRetry
			if !failed && ctx.Err() == nil {
				i.cfg.Logger.Error("the keys of service account tokens cannot be sent to nodes", "err", err)
			}
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
}

func (i *issuer) refresh(ctx context.Context) error {
	now, err := i.readIssuer(ctx)
	if err != nil {
		return err
	}
	secret, err := i.storeIssuer(ctx, now)
	if err != nil {
		return fmt.Errorf("secret %s/%s: %w", i.cfg.Namespace, issuerSecret, err)
	}
	i.mu.Lock()
	fresh := i.version != secret.ResourceVersion
	first := i.version == ""
	i.body, i.version = now, secret.ResourceVersion
	if first {
		close(i.readyLocked())
	}
	i.mu.Unlock()
	if fresh {
		i.changed()
	}
	return nil
}

// readIssuer reads the issuer's name and keys from the API server.
func (i *issuer) readIssuer(ctx context.Context) ([]byte, error) {
	if i.cfg.REST == nil {
		return nil, errors.New("no API server is configured")
	}
	client := i.cfg.Cloud.Discovery().RESTClient()
	if client == nil {
		return nil, errors.New("the client has no REST interface")
	}
	text, err := client.Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var discovered struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(text, &discovered); err != nil || discovered.Issuer == "" {
		return nil, fmt.Errorf("/.well-known/openid-configuration names no issuer: %w", cmp.Or(err, errors.New("it is empty")))
	}
	keys, err := client.Get().AbsPath("/openid/v1/jwks").SetHeader("Accept", "application/jwk-set+json, application/json").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wire.Issuer{Issuer: discovered.Issuer, JWKS: keys})
}

// storeIssuer makes the Secret hold the API server's issuer.
func (i *issuer) storeIssuer(ctx context.Context, now []byte) (*corev1.Secret, error) {
	secrets := i.cfg.Cloud.CoreV1().Secrets(i.cfg.Namespace)
	secret, err := secrets.Get(ctx, issuerSecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: issuerSecret, Namespace: i.cfg.Namespace}, Data: map[string][]byte{issuerField: now},
		}, metav1.CreateOptions{})
	}
	if err != nil || bytes.Equal(secret.Data[issuerField], now) {
		return secret, err
	}
	secret.Data = map[string][]byte{issuerField: now}
	return secrets.Update(ctx, secret, metav1.UpdateOptions{})
}
