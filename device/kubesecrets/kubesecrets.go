package kubesecrets

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// DefaultDir is where a pod has the token of its service account and the API's authority.
const DefaultDir = "/var/run/secrets/kubernetes.io/serviceaccount"

const (
	maxAnswer = 3 << 20 // bytes: a Secret has at most 1 MiB, and base64 makes it longer
	maxKept   = 1000    // values
	maxValue  = 64 << 10
	fresh     = 10 * time.Second // how long a value is used without another request
	timeout   = 5 * time.Second  // for a request
)

// Config sets up Secrets. The zero value is for a program in a pod.
type Config struct {
	Server string // URL of the API; empty means the one that a pod has in its environment
	Dir    string // folder with the files token and ca.crt, which are read again when needed; empty means DefaultDir
}

// Secrets reads Secrets from the Kubernetes API.
type Secrets struct {
	cfg Config

	mu   sync.Mutex
	kept map[string]kept // by namespace/name/key
}

// kept is a value that was read.
type kept struct {
	value []byte
	at    time.Time
}

var _ device.Secrets = (*Secrets)(nil)

// New checks cfg and makes Secrets.
func New(cfg Config) (*Secrets, error) {
	if cfg.Server == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("device/kubesecrets: this program is not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; set Config.Server")
		}
		cfg.Server = "https://" + net.JoinHostPort(host, port)
	}
	if u, err := url.Parse(cfg.Server); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("device/kubesecrets: Config.Server is %.200q: it must be https://HOST:PORT, as a token is sent there", cfg.Server)
	}
	if cfg.Dir == "" {
		cfg.Dir = DefaultDir
	}
	return &Secrets{cfg: cfg, kept: make(map[string]kept)}, nil
}

// errAway says that the API has not answered, or cannot at this time.
var errAway = errors.New("the API does not answer")

// Secret reads a key of a Secret.
func (s *Secrets) Secret(ctx context.Context, namespace, name, key string) ([]byte, error) {
	for _, part := range []string{namespace, name} {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\\%?#\x00") {
			return nil, fmt.Errorf("secret %.80q in namespace %.80q: these cannot be names", name, namespace)
		}
	}
	id := namespace + "/" + name + "/" + key
	s.mu.Lock()
	held, ok := s.kept[id]
	s.mu.Unlock()
	if ok && time.Since(held.at) < fresh {
		return bytes.Clone(held.value), nil
	}
	value, err := s.read(ctx, namespace, name, key)
	switch {
	case errors.Is(err, errAway) && ok:
		return bytes.Clone(held.value), nil
	case err != nil:
		err = fmt.Errorf("secret %q, key %q in namespace %q: %w", name, key, namespace, err)
	}
	s.keep(id, value, err)
	return value, err
}

// keep keeps a value, or removes it if the API has refused it.
func (s *Secrets) keep(id string, value []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.kept[id]; err != nil || len(value) > maxValue || !ok && len(s.kept) >= maxKept {
		if !errors.Is(err, errAway) {
			delete(s.kept, id)
		}
		return
	}
	s.kept[id] = kept{bytes.Clone(value), time.Now()}
}

// read asks the API.
func (s *Secrets) read(ctx context.Context, namespace, name, key string) ([]byte, error) {
	token, err := os.ReadFile(filepath.Join(s.cfg.Dir, "token"))
	if err != nil {
		return nil, fmt.Errorf("the token of the service account (does the pod have automountServiceAccountToken: false?): %w", err)
	}
	authority, err := os.ReadFile(filepath.Join(s.cfg.Dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s has no certificate (PEM)", filepath.Join(s.cfg.Dir, "ca.crt"))
	}
	client := &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.Server+"/api/v1/namespaces/"+namespace+"/secrets/"+name, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Accept", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	return decode(answer.StatusCode, text, key)
}

// decode reads the API's answer.
func decode(status int, text []byte, key string) ([]byte, error) {
	switch {
	case status == http.StatusOK:
	case status == http.StatusForbidden:
		return nil, errors.New(`the mapper's service account may not read it: give it a Role with the verb "get" for this Secret`)
	case status == http.StatusNotFound:
		return nil, errors.New("there is no such Secret")
	case status == http.StatusUnauthorized:
		return nil, errors.New("the API does not accept the token of the mapper's service account")
	default: // 429, 5xx and what a proxy says
		return nil, fmt.Errorf("%w: it says %d", errAway, status)
	}
	var secret struct {
		Data map[string][]byte `json:"data"`
	}
	if err := jsonlimit.Unmarshal(text, &secret); err != nil {
		return nil, fmt.Errorf("the API's answer: %w", err)
	}
	value, ok := secret.Data[key]
	if !ok {
		return nil, errors.New("the Secret has no such key")
	}
	return value, nil
}
