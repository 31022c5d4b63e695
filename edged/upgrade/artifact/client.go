package artifact

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/edged/upgrade"
)

// Config sets up a Client. Trust is required.
type Config struct {
	Trust string // the trust folder
	// Now is the time by which certificates are judged: the latest that the node has known. nil
	// means time.Now.
	Now func() time.Time
	// Credentials returns those for a registry or server, host or host:port; empty ones for none.
	// nil means that there are none.
	Credentials func(ctx context.Context, host string) (Credentials, error)
	// PlainHTTP lists hosts, as host or host:port, that are reached by plain HTTP. All others need
	// TLS. None by default.
	PlainHTTP []string
	MaxBytes  int64             // of a compressed layer; 0 means 256 MiB
	MaxFile   int64             // of one unpacked program; 0 means 256 MiB
	Platform  Platform          // of this node; the zero value means Host()
	Transport http.RoundTripper // nil means one with the proxy of the environment and the system's CAs
	// Free returns how many bytes may be written below a folder. nil asks the operating system.
	Free   func(dir string) (int64, error)
	Logger *slog.Logger // nil discards
}

// Credentials are those for one host. A Token wins over a name.
type Credentials struct {
	Username, Password string
	Token              string // an identity token
}

// Client fetches artefacts: an upgrade.Fetcher.
type Client struct{ cfg Config }

var _ upgrade.Fetcher = (*Client)(nil)

// New makes a Client.
func New(cfg Config) (*Client, error) {
	if cfg.Trust == "" {
		return nil, errors.New("artifact: Config.Trust is required")
	}
	if cfg.MaxBytes < 0 || cfg.MaxFile < 0 {
		return nil, errors.New("artifact: Config.MaxBytes and Config.MaxFile must not be negative")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Credentials == nil {
		cfg.Credentials = func(context.Context, string) (Credentials, error) { return Credentials{}, nil }
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 256 << 20
	}
	if cfg.MaxFile == 0 {
		cfg.MaxFile = 256 << 20
	}
	if cfg.Platform == (Platform{}) {
		cfg.Platform = Host()
	}
	if cfg.Free == nil {
		cfg.Free = freeSpace
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.PlainHTTP = slices.Clone(cfg.PlainHTTP)
	return &Client{cfg: cfg}, nil
}

// Pauses between attempts.
const (
	firstPause = time.Second
	longPause  = 5 * time.Minute
)

// Fetch implements upgrade.Fetcher.
func (c *Client) Fetch(ctx context.Context, req upgrade.Request, to upgrade.Destination) (upgrade.Release, error) {
	if to.Accept == nil {
		to.Accept = func(upgrade.Release) error { return nil }
	}
	if to.Progress == nil {
		to.Progress = func(int64, int64) {}
	}
	if req.Digest != "" && !isDigest(req.Digest) {
		return upgrade.Release{}, refuse("digest", "%.80q: want sha256: and 64 hexadecimal digits", req.Digest)
	}
	trust, err := readTrust(c.cfg.Trust, req)
	if err != nil {
		return upgrade.Release{}, err
	}
	transport := c.transport()
	defer transport.CloseIdleConnections()
	a := &attempt{Client: c, req: req, to: to, trust: trust, http: &http.Client{Transport: fenced{transport, c.cfg.PlainHTTP}}}
	pause := firstPause
	for {
		before := a.received
		a.resumed = false
		release, err := a.run(ctx)
		if _, refused := errors.AsType[*RefusedError](err); refused && a.resumed && !a.fresh {
			// A power cut may have damaged what was there: once more, without it.
			c.cfg.Logger.Warn("the artefact is fetched anew: a download that went on does not give it", "source", req.Source, "err", err)
			a.fresh = true
			if err := empty(to.Cache); err != nil {
				return upgrade.Release{}, fmt.Errorf("upgrade: %w", err)
			}
			continue
		}
		if err == nil || ctx.Err() != nil || !mayPass(err) {
			return release, errors.Join(err, ctx.Err())
		}
		if a.received > before {
			pause = firstPause
		}
		wait := pause/2 + rand.N(pause/2)
		c.cfg.Logger.Warn("the artefact could not be fetched; what is there is kept", "source", req.Source, "err", err, "bytes", a.received, "retry", wait.Round(time.Millisecond))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return upgrade.Release{}, fmt.Errorf("upgrade: %w: the last attempt failed: %w", ctx.Err(), err)
		}
		pause = min(2*pause, longPause)
	}
}

// transport is the HTTP transport of one Fetch.
func (c *Client) transport() closer {
	if c.cfg.Transport != nil {
		return kept{c.cfg.Transport}
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, Time: c.cfg.Now}, TLSHandshakeTimeout: 30 * time.Second,
		ResponseHeaderTimeout: time.Minute, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, MaxResponseHeaderBytes: 64 << 10,
	}
}

type closer interface {
	http.RoundTripper
	CloseIdleConnections()
}

// kept is a transport of the caller, which stays open.
type kept struct{ http.RoundTripper }

func (kept) CloseIdleConnections() {}

// attempt is one Fetch. Its received bytes count over all attempts.
type attempt struct {
	*Client
	req      upgrade.Request
	to       upgrade.Destination
	trust    *trust
	http     *http.Client
	received int64
	resumed  bool // this attempt uses what an earlier one or an earlier call has left
	fresh    bool // that was thrown away once
}

// empty removes what is in a folder.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// run makes one attempt.
func (a *attempt) run(ctx context.Context) (upgrade.Release, error) {
	source, err := a.open(ctx)
	if err != nil {
		return upgrade.Release{}, err
	}
	defer source.Close()
	manifest, text, by, err := a.verify(ctx, source)
	if err != nil {
		return upgrade.Release{}, err
	}
	config, layer, err := parseManifest(text)
	if err != nil {
		return upgrade.Release{}, err
	}
	if layer.Size > a.cfg.MaxBytes {
		return upgrade.Release{}, refuse("layer", "it has %d bytes, and at most %d are allowed", layer.Size, a.cfg.MaxBytes)
	}
	settings, err := source.fetch(ctx, config, maxConfig)
	if err != nil {
		return upgrade.Release{}, err
	}
	info, err := parseInfo(settings)
	if err != nil {
		return upgrade.Release{}, err
	}
	release, err := info.release(a.cfg.Platform, a.req)
	if err != nil {
		return upgrade.Release{}, err
	}
	release.Artifact, release.Pinned, release.SignedBy = string(manifest.Digest), by.digest, by.name
	if err := a.to.Accept(release); err != nil {
		return upgrade.Release{}, err
	}
	content, err := a.layer(ctx, source, layer)
	if err != nil {
		return upgrade.Release{}, err
	}
	defer content.Close()
	programs, err := a.unpack(content, layer)
	if err != nil {
		return upgrade.Release{}, err
	}
	release.Digest, release.Size = programs.digest, programs.size
	return release, nil
}

// verify finds the manifest for this platform and verifies its signature, or that of the index
// that names it.
func (a *attempt) verify(ctx context.Context, source source) (manifest ocispec.Descriptor, text []byte, by signer, err error) {
	root, err := source.resolve(ctx)
	if err != nil {
		return manifest, nil, by, err
	}
	manifest = root
	text, err = source.fetch(ctx, root, maxIndex)
	if err != nil {
		return manifest, nil, by, err
	}
	candidates := []ocispec.Descriptor{root}
	if root.MediaType == ocispec.MediaTypeImageIndex {
		manifests, err := parseIndex(text)
		if err != nil {
			return manifest, nil, by, err
		}
		if manifest, err = a.cfg.Platform.choose(manifests); err != nil {
			return manifest, nil, by, err
		}
		if text, err = source.fetch(ctx, manifest, maxManifest); err != nil {
			return manifest, nil, by, err
		}
		candidates = append(candidates, manifest)
	}
	if want := a.req.Digest; want != "" && !slices.ContainsFunc(candidates, func(d ocispec.Descriptor) bool { return string(d.Digest) == want }) {
		return manifest, nil, by, refuse("digest", "%s was asked for, and %s is there", want, root.Digest)
	}
	by, err = a.trust.verify(ctx, source, candidates, a.cfg.Now())
	return manifest, text, by, err
}

// layer makes the layer's content available, complete and with the right digest, in a file that
// only this program writes.
func (a *attempt) layer(ctx context.Context, source source, d ocispec.Descriptor) (io.ReadCloser, error) {
	if local, ok := source.(localSource); ok {
		if f, ok := local.local(d); ok {
			a.to.Progress(d.Size, d.Size)
			return f, checkContent(f, d)
		}
	}
	name := filepath.Join(a.to.Cache, "layer-"+strings.TrimPrefix(string(d.Digest), "sha256:"))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	err = a.download(ctx, source, d, f)
	if err == nil {
		if err = checkContent(f, d); err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// download fetches what is missing of a blob.
func (a *attempt) download(ctx context.Context, source source, d ocispec.Descriptor, f *os.File) error {
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if have > d.Size {
		if have, err = 0, f.Truncate(0); err != nil {
			return err
		}
	}
	a.resumed = a.resumed || have > 0
	a.to.Progress(have, d.Size)
	if err := a.room(a.to.Cache, d.Size-have+unpackedFor(d)); err != nil {
		return err
	}
	if have == d.Size {
		return nil
	}
	body, offset, err := source.blob(ctx, d, have)
	if err != nil {
		return err
	}
	defer body.Close()
	if offset != have {
		if err := f.Truncate(offset); err != nil {
			return err
		}
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	return a.copy(f, body, offset, d.Size)
}

// copy copies up to size bytes in all, of which done are there, and counts them.
func (a *attempt) copy(f *os.File, body io.Reader, done, size int64) error {
	buffer := make([]byte, 64<<10)
	for done < size {
		n, err := body.Read(buffer[:min(int64(len(buffer)), size-done)])
		if n > 0 {
			if _, err := f.Write(buffer[:n]); err != nil {
				return fmt.Errorf("upgrade: %w", err)
			}
			done += int64(n)
			a.received += int64(n)
			a.to.Progress(done, size)
		}
		if err == io.EOF && done < size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && done < size {
			return &passingError{fmt.Errorf("after %d of %d bytes: %w", done, size, err)}
		}
	}
	return f.Sync()
}

// checkContent compares size and digest, and leaves the reader at the start.
func checkContent(f io.ReadSeeker, d ocispec.Descriptor) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	size, digest, err := digestOf(f)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if size != d.Size || digest != string(d.Digest) {
		return refuse("layer", "it has %d bytes and digest %s; the manifest says %d and %s: it is damaged or was replaced", size, digest, d.Size, d.Digest)
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
