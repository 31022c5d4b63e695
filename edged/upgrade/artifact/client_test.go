package artifact_test

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/edged/upgrade/artifact"
	"github.com/edgekit/edgekit/edged/upgrade/artifacttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inMemory calls a handler without a network.
type inMemory struct{ http.Handler }

func (h inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	response := w.Result()
	response.Request = r
	return response, nil
}

// site is what a test fetches from.
type site struct {
	*artifacttest.Artifact
	key      *ecdsa.PrivateKey
	registry *artifacttest.Registry
	cfg      artifact.Config
	to       upgrade.Destination
}

// newSite makes an artefact that is signed by a key the node trusts.
func newSite(t *testing.T, o artifacttest.Options) *site {
	t.Helper()
	s := &site{Artifact: artifacttest.New(o), key: artifacttest.NewKey(t)}
	s.SignKey(t, s.key)
	s.registry = &artifacttest.Registry{Artifact: s.Artifact}
	s.cfg = artifact.Config{
		Trust: artifacttest.Trust(t, map[string]*ecdsa.PublicKey{"release": &s.key.PublicKey}), Transport: inMemory{s.registry},
		Free: func(string) (int64, error) { return 1 << 40, nil },
	}
	s.to = upgrade.Destination{Dir: t.TempDir(), Cache: t.TempDir()}
	return s
}

func (s *site) fetch(ctx context.Context, req upgrade.Request) (upgrade.Release, error) {
	c, err := artifact.New(s.cfg)
	if err != nil {
		return upgrade.Release{}, err
	}
	if req.Source == "" {
		req.Source = "oci://registry.example/edgekit/node:latest"
	}
	return c.Fetch(ctx, req, s.to)
}

// wantRefused checks that an error is final and names something, and that nothing was written.
func (s *site) wantRefused(t *testing.T, err error, want string) {
	t.Helper()
	if _, ok := errors.AsType[*artifact.RefusedError](err); !ok || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want a refusal with %q", err, want)
	}
	if entries, err := os.ReadDir(s.to.Dir); err != nil || len(entries) != 0 {
		t.Errorf("the destination holds %v, %v", entries, err)
	}
}

// TestSources fetches from each kind of source, and puts the same two programs there.
func TestSources(t *testing.T) {
	for name, source := range map[string]func(*testing.T, *site) string{
		"registry": func(*testing.T, *site) string { return "oci://registry.example/edgekit/node:latest" },
		"digest": func(_ *testing.T, s *site) string {
			return "oci://registry.example/edgekit/node@" + string(s.Root.Digest)
		},
		"file": func(t *testing.T, s *site) string { return s.WriteLayout(t, t.TempDir()) },
		"file URL": func(t *testing.T, s *site) string {
			return "file://" + s.WriteLayout(t, t.TempDir())
		},
		"URL": func(t *testing.T, s *site) string {
			file := s.WriteLayout(t, t.TempDir())
			s.cfg.Transport = inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })}
			return "https://files.example/node.tar"
		},
	} {
		for _, by := range []string{"key", "notation"} {
			t.Run(name+" "+by, func(t *testing.T) {
				s := newSite(t, artifacttest.Options{Version: "v1.4.0"})
				if by == "notation" {
					signer := artifacttest.NewSigner(t, time.Now().Add(-time.Hour))
					s.cfg.Trust = t.TempDir()
					signer.Trust(t, s.cfg.Trust, "strict")
					s.SignNotation(t, signer, time.Now(), time.Time{})
				}
				var total int64
				s.to.Progress = func(done, of int64) { total = of }
				accepted := upgrade.Release{}
				s.to.Accept = func(r upgrade.Release) error { accepted = r; return nil }
				got, err := s.fetch(t.Context(), upgrade.Request{Source: source(t, s), Version: "v1.4.0", Digest: string(s.Root.Digest)})
				if err != nil {
					t.Fatal(err)
				}
				if got.Version != "v1.4.0" || got.StoreFormat != 2 || got.Artifact != string(s.Manifests[0].Digest) || got.Pinned != string(s.Root.Digest) || got.SignedBy == "" || accepted.Version != got.Version || total == 0 {
					t.Errorf("release %+v, accepted %+v, total %d", got, accepted, total)
				}
				for _, program := range []string{upgrade.Program, upgrade.Control} {
					info, err := os.Stat(filepath.Join(s.to.Dir, program))
					if err != nil || info.Mode() != 0o755 {
						t.Errorf("%s: %v, %v", program, info, err)
					}
				}
				text, err := os.ReadFile(filepath.Join(s.to.Dir, upgrade.Program))
				if want := artifacttest.Program(artifact.Host(), "edgecore v1.4.0"); err != nil || string(text) != string(want) || got.Size != int64(len(want)) {
					t.Errorf("%q, %v", text, err)
				}
			})
		}
	}
}

// TestPlatforms chooses the manifest of the node's platform.
func TestPlatforms(t *testing.T) {
	all := []artifact.Platform{{"linux", "amd64", ""}, {"linux", "arm64", ""}, {"linux", "arm", "v7"}, {"linux", "riscv64", ""}}
	for _, p := range append(all, artifact.Platform{"linux", "arm", "v6"}, artifact.Platform{"linux", "s390x", ""}) {
		s := newSite(t, artifacttest.Options{Platforms: all})
		s.cfg.Platform = p
		got, err := s.fetch(t.Context(), upgrade.Request{})
		if p.Variant == "v6" || p.Architecture == "s390x" {
			s.wantRefused(t, err, "no manifest for "+p.String())
			continue
		}
		text, readErr := os.ReadFile(filepath.Join(s.to.Dir, upgrade.Program))
		if err != nil || readErr != nil || string(text) != string(artifacttest.Program(p, "edgecore v1.0.0")) {
			t.Errorf("%s: %+v, %v, %v", p, got, err, readErr)
		}
	}
}

// TestRefused refuses what is not what was asked for, or not signed by whom the node trusts.
func TestRefused(t *testing.T) {
	other := artifacttest.NewKey(t)
	foreign := artifact.Platform{OS: "linux", Architecture: "riscv64"}
	for name, test := range map[string]struct {
		options artifacttest.Options
		change  func(*testing.T, *site)
		request upgrade.Request
		want    string
	}{
		"no trust":        {change: func(t *testing.T, s *site) { s.cfg.Trust = t.TempDir() }, want: "put there what signs your releases"},
		"no trust folder": {change: func(t *testing.T, s *site) { s.cfg.Trust = filepath.Join(t.TempDir(), "no") }, want: "neither a trustpolicy.json nor a key"},
		"no key in file": {change: func(t *testing.T, s *site) {
			if err := os.WriteFile(filepath.Join(s.cfg.Trust, "bad.pub"), []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: "bad.pub: it is no PEM public key"},
		"other key": {change: func(t *testing.T, s *site) {
			s.cfg.Trust = artifacttest.Trust(t, map[string]*ecdsa.PublicKey{"release": &other.PublicKey})
		}, want: "no key of"},
		"unsigned": {change: func(_ *testing.T, s *site) { s.Index = s.Index[:1] }, want: "there is none: sign"},
		"signature of another": {change: func(t *testing.T, s *site) {
			s.Index = s.Index[:1]
			s.SignPayload(t, s.key, s.Root, []byte(`{"critical":{"image":{"docker-manifest-digest":"sha256:`+strings.Repeat("a", 64)+`"},"type":"cosign container image signature"}}`))
		}, want: "and not for"},
		"signature of no image": {change: func(t *testing.T, s *site) {
			s.Index = s.Index[:1]
			s.SignPayload(t, s.key, s.Root, []byte(`{"critical":{"image":{"docker-manifest-digest":"`+string(s.Root.Digest)+`"},"type":"other"}}`))
		}, want: "and not for"},
		"key that is not there":      {request: upgrade.Request{Keys: []string{"nightly"}}, want: `the key "nightly" was asked for`},
		"policy that is not there":   {request: upgrade.Request{TrustPolicy: "strict"}, want: "trustpolicy.json"},
		"other digest":               {request: upgrade.Request{Digest: "sha256:" + strings.Repeat("0", 64)}, want: "has no sha256:0000"},
		"bad digest":                 {request: upgrade.Request{Digest: "md5:1"}, want: "want sha256:"},
		"other version":              {request: upgrade.Request{Version: "v9.9.9"}, want: `its version is v1.0.0 and "v9.9.9" was asked for`},
		"other platform in config":   {options: artifacttest.Options{Info: func(i *artifact.Info) { i.Architecture = "mips" }}, want: "it is for linux/mips"},
		"no store format":            {options: artifacttest.Options{Info: func(i *artifact.Info) { i.StoreFormat = 0 }}, want: "storeFormat 0"},
		"no version":                 {options: artifacttest.Options{Info: func(i *artifact.Info) { i.Version = "" }}, want: "version"},
		"other artifact type":        {options: artifacttest.Options{Manifest: func(m *ocispec.Manifest) { m.ArtifactType = "x/y" }}, want: "artifactType"},
		"other config type":          {options: artifacttest.Options{Manifest: func(m *ocispec.Manifest) { m.Config.MediaType = "x/y" }}, want: "config.mediaType"},
		"two layers":                 {options: artifacttest.Options{Manifest: func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }}, want: "layers"},
		"layer too large":            {change: func(_ *testing.T, s *site) { s.cfg.MaxBytes = 10 }, want: "at most 10 are allowed"},
		"program too large":          {change: func(_ *testing.T, s *site) { s.cfg.MaxFile = 10 }, want: "want 1 to 10"},
		"program of another machine": {options: artifacttest.Options{Programs: map[string][]byte{"edgecore": artifacttest.Program(foreign, ""), "edgectl": artifacttest.Program(foreign, "")}}, want: "machine 243"},
		"not a program":              {options: artifacttest.Options{Programs: map[string][]byte{"edgecore": []byte("#!/bin/sh\nrm -rf / --no-preserve-root"), "edgectl": []byte("x")}}, want: "it is no program"},
		"no such tag":                {request: upgrade.Request{Source: "oci://registry.example/edgekit/node:v7"}, want: "has no v7"},
		"no tag":                     {request: upgrade.Request{Source: "oci://registry.example/edgekit/node"}, want: "neither a tag nor a digest"},
		"other scheme":               {request: upgrade.Request{Source: "ftp://registry.example/node"}, want: "want oci://"},
		"no file":                    {request: upgrade.Request{Source: "/does/not/exist.tar"}, want: "no such file"},
		"password in URL":            {request: upgrade.Request{Source: "https://me:secret@files.example/x"}, want: "without a name or password"},
		"layer replaced": {change: func(_ *testing.T, s *site) {
			for _, d := range s.Blobs {
				if len(d) > 2 && d[0] == 0x1f && d[1] == 0x8b {
					d[len(d)-1] ^= 1
				}
			}
		}, want: "damaged or was replaced"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, test.options)
			if test.change != nil {
				test.change(t, s)
			}
			_, err := s.fetch(t.Context(), test.request)
			s.wantRefused(t, err, test.want)
		})
	}
}

// TestAccept: what the caller refuses is refused before the layer is asked for.
func TestAccept(t *testing.T) {
	s := newSite(t, artifacttest.Options{})
	no := errors.New("not this one")
	s.to.Accept = func(upgrade.Release) error { return no }
	if _, err := s.fetch(t.Context(), upgrade.Request{}); !errors.Is(err, no) || s.registry.Blobs.Load() != 2 { // the payload of the signature, and the configuration
		t.Errorf("%v after %d blobs", err, s.registry.Blobs.Load())
	}
}

// TestNotationPolicy: levels, times and identities of notation's policy count.
func TestNotationPolicy(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		level  string
		now    time.Time
		expiry time.Time
		other  bool // the trust store has another root
		want   string
	}{
		"now":                       {level: "strict", now: start.AddDate(0, 1, 0)},
		"permissive":                {level: "permissive", now: start.AddDate(0, 1, 0)},
		"audit":                     {level: "audit", now: start.AddDate(0, 1, 0), want: "does not enforce authenticity"},
		"1970":                      {level: "strict", now: time.Unix(0, 0), want: "check this machine's clock"},
		"long after":                {level: "strict", now: start.AddDate(5, 0, 0), want: "check this machine's clock"},
		"long after, permissive":    {level: "permissive", now: start.AddDate(5, 0, 0)},
		"signature expired":         {level: "strict", now: start.AddDate(0, 2, 0), expiry: start.AddDate(0, 1, 0), want: "the signature has expired"},
		"signature not yet expired": {level: "strict", now: start.AddDate(0, 0, 20), expiry: start.AddDate(0, 1, 0)},
		"another root":              {level: "strict", now: start.AddDate(0, 1, 0), other: true, want: "does not contain any trusted certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, artifacttest.Options{})
			signer := artifacttest.NewSigner(t, start)
			s.cfg.Trust, s.cfg.Now = t.TempDir(), func() time.Time { return test.now }
			trusted := signer
			if test.other {
				trusted = artifacttest.NewSigner(t, start)
			}
			trusted.Trust(t, s.cfg.Trust, test.level)
			s.SignNotation(t, signer, start.AddDate(0, 0, 1), test.expiry)
			got, err := s.fetch(t.Context(), upgrade.Request{})
			if test.want != "" {
				s.wantRefused(t, err, test.want)
			} else if err != nil || !strings.Contains(got.SignedBy, "CN=release") {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestCredentialsAndPlainHTTP: credentials go to the registry, and nothing goes out without TLS
// unless the host is named.
func TestCredentialsAndPlainHTTP(t *testing.T) {
	s := newSite(t, artifacttest.Options{})
	s.registry.User, s.registry.Password = "node", "secret"
	if _, err := s.fetch(t.Context(), upgrade.Request{}); err == nil || !strings.Contains(err.Error(), "credential") && !strings.Contains(err.Error(), "401") {
		t.Errorf("without credentials: %v", err)
	}
	asked := ""
	s.cfg.Credentials = func(_ context.Context, host string) (artifact.Credentials, error) {
		asked = host
		return artifact.Credentials{Username: "node", Password: "secret"}, nil
	}
	if _, err := s.fetch(t.Context(), upgrade.Request{}); err != nil || asked != "registry.example" {
		t.Errorf("with credentials of %q: %v", asked, err)
	}
	plain := ""
	s.to.Dir = t.TempDir()
	s.registry.Before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Scheme == "http" {
			plain = r.URL.Host
		}
		return false
	}
	s.cfg.PlainHTTP = []string{"registry.example"}
	if _, err := s.fetch(t.Context(), upgrade.Request{Source: "oci://registry.example:5000/edgekit/node:latest"}); err != nil || plain != "registry.example:5000" {
		t.Errorf("plain HTTP to %q: %v", plain, err)
	}
	plain = ""
	if _, err := s.fetch(t.Context(), upgrade.Request{Source: "http://files.example/node.tar"}); err == nil || !strings.Contains(err.Error(), "plain HTTP is not allowed") || plain != "" {
		t.Errorf("plain HTTP to %q: %v", plain, err)
	}
	s.registry.Before = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "http://files.example/x", http.StatusTemporaryRedirect)
		return true
	}
	if _, err := s.fetch(t.Context(), upgrade.Request{Source: "https://files.example/node.tar"}); err == nil || !strings.Contains(err.Error(), "plain HTTP is not allowed") {
		t.Errorf("a redirect to plain HTTP: %v", err)
	}
}

// TestDisk: too little room is said with numbers, before anything is fetched.
func TestDisk(t *testing.T) {
	s := newSite(t, artifacttest.Options{})
	s.cfg.Free = func(string) (int64, error) { return 3 << 20, nil }
	_, err := s.fetch(t.Context(), upgrade.Request{})
	full, ok := errors.AsType[*artifact.DiskError](err)
	if !ok || full.Free != 3<<20 || full.Need <= full.Free || !strings.Contains(err.Error(), "3 MiB free and the upgrade needs 17 MiB") {
		t.Errorf("%v", err)
	}
}

// TestServerErrors: a registry that answers 500 for an hour is asked again and again, with
// pauses; then the upgrade succeeds. When ctx ends before, the error says both.
func TestServerErrors(t *testing.T) {
	for _, source := range []string{"oci://registry.example/edgekit/node:latest", "https://files.example/node.tar"} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, artifacttest.Options{})
			begun, asked, code := time.Now(), 0, http.StatusInternalServerError
			file := s.Layout()
			s.registry.Before = func(w http.ResponseWriter, r *http.Request) bool {
				if time.Since(begun) < time.Hour {
					asked++
					w.WriteHeader(code)
					return true
				}
				if r.URL.Path == "/node.tar" {
					http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(file)))
					return true
				}
				return false
			}
			if _, err := s.fetch(t.Context(), upgrade.Request{Source: source}); err != nil {
				t.Errorf("%s: %v", source, err)
			}
			if passed := time.Since(begun); asked < 10 || asked > 60 || passed > time.Hour+6*time.Minute {
				t.Errorf("%s: asked %d times, done after %s", source, asked, passed)
			}
			begun, code = time.Now(), http.StatusTooManyRequests
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			if _, err := s.fetch(ctx, upgrade.Request{Source: source}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "429") {
				t.Errorf("%s: %v", source, err)
			}
			begun, asked, code = time.Now(), 0, http.StatusForbidden
			if _, err := s.fetch(t.Context(), upgrade.Request{Source: source}); err == nil || !strings.Contains(err.Error(), "403") || asked > 2 {
				t.Errorf("%s: %v after %d requests", source, err, asked)
			}
		})
	}
}

// cut is a body that ends early.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.left -= n
	if n > 0 {
		if _, err := c.ResponseWriter.Write(b[:n]); err != nil {
			return 0, err
		}
	}
	return len(b), nil // the rest is lost
}

// TestResume: each attempt is cut off; what is there is not asked for again, also not by the next
// call.
func TestResume(t *testing.T) {
	for _, source := range []string{"oci://registry.example/edgekit/node:latest", "https://files.example/node.tar"} {
		synctest.Test(t, func(t *testing.T) {
			noise := make([]byte, 50_000)
			rand.NewChaCha8([32]byte{1}).Read(noise)
			program := append(artifacttest.Program(artifact.Host(), ""), noise...)
			plain := artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Content: program}, artifacttest.Entry{Name: "edgectl", Content: program})
			s := newSite(t, artifacttest.Options{Layer: artifacttest.Gzip(plain)})
			layer := int64(len(artifacttest.Gzip(plain)))
			var served int64
			file := s.Layout()
			inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/node.tar" {
					w.Header().Set("ETag", `"1"`)
					http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(file)))
					return
				}
				s.registry.ServeHTTP(w, r)
			})
			s.cfg.Transport = inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "/blobs/") && r.URL.Path != "/node.tar" || r.Method == http.MethodHead {
					inner.ServeHTTP(w, r)
					return
				}
				if r.Header.Get("Range") == "" && served > 0 && r.URL.Path == "/node.tar" {
					t.Error("a download began again")
				}
				c := &cut{w, 1000 + int(layer/5)}
				before := c.left
				inner.ServeHTTP(c, r)
				served += int64(before - c.left)
			})}
			ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
			if _, err := s.fetch(ctx, upgrade.Request{Source: source}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: the first call: %v", source, err)
			}
			cancel()
			if _, err := s.fetch(t.Context(), upgrade.Request{Source: source}); err != nil {
				t.Fatalf("%s: %v", source, err)
			}
			if got, err := os.ReadFile(filepath.Join(s.to.Dir, "edgecore")); err != nil || string(got) != string(program) {
				t.Errorf("%s: %d bytes, %v", source, len(got), err)
			}
		})
	}
}

// TestDamagedDownload: what a power cut has damaged of an unfinished download is fetched anew, once.
func TestDamagedDownload(t *testing.T) {
	for _, source := range []string{"oci://registry.example/edgekit/node:latest", "https://files.example/node.tar"} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, artifacttest.Options{})
			file, calls := s.Layout(), 0
			s.cfg.Transport = inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if calls++; r.URL.Path != "/node.tar" {
					s.registry.ServeHTTP(w, r)
					return
				}
				w.Header().Set("ETag", `"1"`)
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(file)))
			})}
			stop := errors.New("the power is cut")
			s.to.Accept = func(upgrade.Release) error { return stop }
			if _, err := s.fetch(t.Context(), upgrade.Request{Source: source}); !errors.Is(err, stop) {
				t.Fatal(err)
			}
			s.to.Accept = nil
			entries, err := os.ReadDir(s.to.Cache)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 0 { // of a registry only the layer is kept
				release, err := s.fetch(t.Context(), upgrade.Request{Source: source})
				if entries, _ = os.ReadDir(s.to.Cache); err != nil || len(entries) == 0 {
					t.Fatalf("%+v, %v", release, err)
				}
				s.to.Dir = t.TempDir()
			}
			for _, e := range entries {
				if name := filepath.Join(s.to.Cache, e.Name()); !strings.HasSuffix(name, ".etag") {
					info, err := os.Stat(name)
					if err := errors.Join(err, os.WriteFile(name, make([]byte, info.Size()), 0o600)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := s.fetch(t.Context(), upgrade.Request{Source: source}); err != nil {
				t.Errorf("%s: %v", source, err)
			}
			// What is wrong at its source is refused all the same.
			s.to.Dir, calls = t.TempDir(), 0
			s.registry.Artifact = artifacttest.New(artifacttest.Options{Version: "v9.9.9"})
			file = s.registry.Artifact.Layout()
			if _, err := s.fetch(t.Context(), upgrade.Request{Source: source, Version: "v1.0.0"}); err == nil || calls > 20 {
				t.Errorf("%s: %d requests, %v", source, calls, err)
			}
		})
	}
}

// TestPipe: a named pipe is no artefact, and nobody waits for who writes to it.
func TestPipe(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("mkfifo is asked of Linux only")
	}
	s := newSite(t, artifacttest.Options{})
	name := filepath.Join(t.TempDir(), "pipe")
	if out, err := exec.CommandContext(t.Context(), "mkfifo", name).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	_, err := s.fetch(t.Context(), upgrade.Request{Source: name})
	s.wantRefused(t, err, "not a regular file")
}
