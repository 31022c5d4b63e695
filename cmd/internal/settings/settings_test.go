package settings

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestChange: what is set is written, all else stays, and no change writes nothing.
func TestChange(t *testing.T) {
	name := filepath.Join(t.TempDir(), "etc", "edgecore.yaml")
	f, err := Read(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a file without settings was written")
	}
	f.Set("max-pods", "50")
	f.SetMap("node-labels", map[string]string{"site": "plant-1", "on": "true"})
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if want := "max-pods: \"50\"\nnode-labels:\n    on: \"true\"\n    site: plant-1\n"; err != nil || string(text) != want {
		t.Errorf("%q, want %q, %v", text, want, err)
	}
	if err := os.WriteFile(name, []byte("# ours\nmqtt-listen: [\"tcp://:1883\", tcp://:1884] # two\nmax-pods: \"50\"\nnode-labels: {site: old, rack: a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = Read(name); err != nil {
		t.Fatal(err)
	}
	if got := f.Values("mqtt-listen"); !slices.Equal(got, []string{"tcp://:1883", "tcp://:1884"}) {
		t.Errorf("%q", got)
	}
	if got := f.Values("max-pods"); !slices.Equal(got, []string{"50"}) || f.Values("cloud") != nil || f.Values("node-labels") != nil {
		t.Errorf("%q", got)
	}
	f.Set("max-pods", "50")
	f.SetMap("node-labels", map[string]string{"rack": "a"})
	if f.Changed() {
		t.Error("the same values are a change")
	}
	f.SetMap("node-labels", map[string]string{"site": "plant-1"})
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(name)
	info, serr := os.Stat(name)
	if err != nil || serr != nil || info.Mode().Perm() != 0o600 {
		t.Error(err, serr, info.Mode())
	}
	for _, want := range []string{"# ours", "# two", "site: plant-1", "rack: a", "max-pods"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
}

// TestRefused: what is no configuration file is named.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{"- a\n": "setting: value", "a: [\n": "correct the YAML", strings.Repeat("#", maxFile+1): "not a configuration file"} {
		name := filepath.Join(dir, "f.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Read(dir); err == nil {
		t.Error("a folder was read")
	}
}
