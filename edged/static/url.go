package static

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/edged/internal/durable"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// urlTimeout bounds one request, urlInterval is the kubelet's httpCheckFrequency.
const (
	urlTimeout  = 10 * time.Second
	urlInterval = 20 * time.Second
)

// URLConfig sets up a URL. URL, Node and File are required.
type URLConfig struct {
	URL    string        // http or https
	Header http.Header   // sent with each request
	Node   string        // the node's name
	File   string        // absolute path of the file where the last good answer is kept
	Every  time.Duration // between two requests; 0 means 20 s
	Client *http.Client  // nil means one that stays with the URL's host and waits for 10 s
	Logger *slog.Logger  // nil discards
}

// URL is a manifest on a web server.
type URL struct {
	cfg    URLConfig
	guard  lifecycle.Guard
	text   []byte // the last good answer; nil without
	etag   string // of text
	pods   []*corev1.Pod
	failed string // why the last request had no good answer, as last logged
}

// NewURL checks the configuration; it reads and asks nothing.
func NewURL(cfg URLConfig) (*URL, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("static: URLConfig.URL %q is no URL: want http://HOST/PATH or https://HOST/PATH", cfg.URL)
	case cfg.Node == "":
		return nil, errors.New("static: URLConfig.Node is required: the node's name")
	case !filepath.IsAbs(cfg.File):
		return nil, fmt.Errorf("static: URLConfig.File %q is not an absolute path", cfg.File)
	case cfg.Every < 0:
		return nil, errors.New("static: URLConfig.Every is negative: leave it 0 for 20 s")
	}
	if cfg.Every == 0 {
		cfg.Every = urlInterval
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: urlTimeout, CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Host != u.Host || u.Scheme == "https" && req.URL.Scheme != "https" || len(via) > 10 {
				return fmt.Errorf("it redirects to %s://%s: give that URL", req.URL.Scheme, req.URL.Host) // the header is for this host only, and may be a secret
			}
			return nil
		}}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Header = cfg.Header.Clone()
	return &URL{cfg: cfg}, nil
}

// Run calls changed with all pods, ordered by namespace and name: at once with those of the
// last good answer, and after each change, until ctx ends; it then returns nil. The pods are
// shared and must not be changed. A server that does not answer, or not with pods, changes
// nothing. A second call returns edged.ErrStarted.
func (u *URL) Run(ctx context.Context, changed func([]*corev1.Pod)) error {
	if err := u.guard.Start(); err != nil {
		return err
	}
	defer u.cfg.Client.CloseIdleConnections()
	u.restore()
	changed(u.pods)
	for {
		different, err := u.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			u.failed = ""
		case u.failed != err.Error():
			u.cfg.Logger.Warn("static pods cannot be read from their URL; those of the last good answer stay", "url", u.place(), "err", err)
			u.failed = err.Error()
		}
		if different {
			changed(u.pods)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(u.cfg.Every):
		}
	}
}

// place is the URL without what may be secret in it.
func (u *URL) place() string {
	parsed, err := url.Parse(u.cfg.URL)
	if err != nil {
		return ""
	}
	parsed.RawQuery = ""
	return parsed.Redacted()
}

// restore reads the last good answer from the disk. One of another URL does not count.
func (u *URL) restore() {
	text, err := os.ReadFile(u.cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	from, body, _ := bytes.Cut(text, []byte("\n"))
	if err == nil && string(from) != u.cfg.URL {
		return
	}
	if err == nil {
		u.pods, err = decodeList(body, u.cfg.Node)
	}
	if err != nil {
		u.cfg.Logger.Warn("the last good answer of the static pods' URL cannot be read; their pods wait for the server", "file", u.cfg.File, "err", err)
		return
	}
	u.text = body
}

// ask makes a request, and reports whether the pods are others than before.
func (u *URL) ask(ctx context.Context) (different bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.cfg.URL, nil)
	if err != nil {
		return false, err
	}
	for name, values := range u.cfg.Header {
		req.Header[name] = slices.Clone(values)
	}
	if u.etag != "" {
		req.Header.Set("If-None-Match", u.etag)
	}
	resp, err := u.cfg.Client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, which may hold a secret
		}
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return false, nil
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("the server answers %q: want 200", resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	switch {
	case err != nil:
		return false, err
	case len(text) > maxManifest:
		return false, fmt.Errorf("the answer has more than %d bytes", maxManifest)
	case u.text != nil && bytes.Equal(text, u.text):
		u.etag = resp.Header.Get("ETag")
		return false, nil
	}
	pods, err := decodeList(text, u.cfg.Node)
	if err != nil {
		return false, err
	}
	// What runs must be known after a boot without the network: the file comes first.
	if err := os.MkdirAll(filepath.Dir(u.cfg.File), 0o700); err != nil {
		return false, err
	}
	if err := durable.WriteFile(u.cfg.File, append([]byte(u.cfg.URL+"\n"), text...)); err != nil {
		return false, err
	}
	u.text, u.etag, u.pods = text, resp.Header.Get("ETag"), pods
	return true, nil
}

// decodeList reads a Pod, or a PodList. One wrong pod refuses the whole answer: half of it
// would stop what runs.
func decodeList(text []byte, node string) ([]*corev1.Pod, error) {
	if n := documents(text); n != 1 {
		return nil, fmt.Errorf("it holds %d documents: want one Pod or one PodList", n)
	}
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal(text, &kind); err != nil {
		return nil, err
	}
	list := corev1.PodList{Items: make([]corev1.Pod, 1)}
	if kind.Kind == "PodList" {
		list.Items = nil
		if err := yaml.UnmarshalStrict(text, &list); err != nil {
			return nil, err
		}
	} else if err := yaml.UnmarshalStrict(text, &list.Items[0]); err != nil {
		return nil, err
	}
	var out []*corev1.Pod
	for i := range list.Items {
		pod := &list.Items[i]
		if kind.Kind == "PodList" && pod.Kind == "" { // items need none
			pod.APIVersion, pod.Kind = "v1", "Pod"
		}
		done, err := complete(pod, node, SourceURL)
		if err != nil {
			return nil, fmt.Errorf("pod %q: %w", pod.Name, err)
		}
		out = append(out, done)
	}
	sortPods(out)
	for i := 1; i < len(out); i++ {
		if out[i].Name == out[i-1].Name && out[i].Namespace == out[i-1].Namespace {
			return nil, fmt.Errorf("two pods are named %s/%s: give one of them another metadata.name", out[i].Namespace, out[i].Name)
		}
	}
	return out, nil
}
