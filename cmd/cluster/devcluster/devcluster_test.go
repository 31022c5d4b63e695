package devcluster

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
)

func TestConfig(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("XDG_STATE_HOME", "")
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(cache, "edgekit", "cluster"); c.Dir() != want {
		t.Errorf("Dir %s, want %s", c.Dir(), want)
	}
	own := filepath.Join(c.Dir(), "kubeconfig")
	if c, err = New(Config{Kubeconfig: own}); err != nil || c.External() {
		t.Errorf("its own kubeconfig: external %v, %v", c.External(), err)
	}
	if _, err := New(Config{Kubeconfig: "/does/not/exist"}); err == nil || !strings.Contains(err.Error(), "KUBECONFIG") {
		t.Errorf("missing kubeconfig: %v", err)
	}
	foreign := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = New(Config{Kubeconfig: foreign}); err != nil || !c.External() || c.Kubeconfig() != foreign {
		t.Errorf("foreign kubeconfig: %v", err)
	}
	if _, err := New(Config{Kubeconfig: foreign, RuntimeOnly: true}); err == nil || !strings.Contains(err.Error(), "leave one out") {
		t.Errorf("a runtime alone with a cluster: %v", err)
	}
	if c, err = New(Config{RuntimeOnly: true}); err != nil || !c.External() || !slices.Equal(c.names(), []string{"containerd"}) {
		t.Errorf("a runtime alone: %v", err)
	}
}

func TestMethodsNeedUp(t *testing.T) {
	c := newCluster(t)
	if _, err := c.Env(); !errors.Is(err, ErrNotUp) {
		t.Errorf("Env: %v", err)
	}
	if err := c.Images(t.Context()); !errors.Is(err, ErrNotUp) {
		t.Errorf("Images: %v", err)
	}
}

func TestProgramsArePinned(t *testing.T) {
	c := newCluster(t)
	source, err := c.source()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, p := range slices.Concat(programs, extras) {
		if _, err := gobuild.Version(filepath.Join(source, p.folder), p.module); err != nil {
			t.Error(err)
		}
		if names[p.file()] {
			t.Errorf("two programs are called %s", p.file())
		}
		names[p.file()] = true
	}
	if err := c.BuildExtra(t.Context(), "none"); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("a program that is not known: %v", err)
	}
}

func TestStateRoundTrip(t *testing.T) {
	c := newCluster(t)
	if err := c.choose(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(c.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	want := c.state
	c.state = state{}
	if ok, err := c.load(); !ok || err != nil || c.state.Network != want.Network || c.state.Ports != want.Ports {
		t.Errorf("state %+v, want %+v, %v", c.state, want, err)
	}
}

func TestRuntimeFilesStayInTheClustersFolders(t *testing.T) {
	c := newCluster(t)
	if err := c.choose(); err != nil {
		t.Fatal(err)
	}
	if !json.Valid([]byte(c.cniConfig())) {
		t.Errorf("not JSON: %s", c.cniConfig())
	}
	for line := range strings.Lines(c.containerdConfig()) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if path := strings.Trim(value, `"'`); ok && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, c.Dir()) && !strings.HasPrefix(path, c.runPath()) {
			t.Errorf("%s is %s, outside", key, path)
		}
	}
}

func TestCertificatesAreMadeOnce(t *testing.T) {
	c := newCluster(t)
	if err := c.choose(); err != nil {
		t.Fatal(err)
	}
	if err := c.makeCertificates(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.makeCertificates(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(c.Kubeconfig()); err != nil || string(after) != string(before) {
		t.Errorf("made again: %v", err)
	}
	if _, err := c.controlPlane(); err != nil {
		t.Errorf("control plane: %v", err)
	}
}

func TestVersionFlags(t *testing.T) {
	got := versionFlags(kubernetesModule, "v1.37.2")
	for _, want := range []string{"version.gitVersion=v1.37.2", "version.gitMajor=1", "version.gitMinor=37"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %s", got, want)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const text = `24 1 254:0 / / rw - ext4 /dev/vda rw
41 24 0:35 / /a/dir/one\040two rw - tmpfs tmpfs rw
42 24 0:35 / /a/directory rw - tmpfs tmpfs rw
43 41 0:35 / /a/dir/one\040two/deep rw - tmpfs tmpfs rw
`
	got, err := parseMounts(strings.NewReader(text), []string{"/a/dir"})
	if want := []string{"/a/dir/one two", "/a/dir/one two/deep"}; !slices.Equal(got, want) || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("41 24 0:35 / /a/dir/one\\040two rw - tmpfs tmpfs rw\n")
	f.Add("1 2 3")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseMounts(strings.NewReader(s), []string{"/a"}) })
}

func newCluster(t *testing.T) *Cluster {
	t.Helper()
	c, err := New(Config{Dir: filepath.Join(t.TempDir(), "cluster"), Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
