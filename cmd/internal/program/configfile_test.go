package program

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestConfigFile: what is set is written, all else stays, and no change writes nothing.
func TestConfigFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "etc", "edgecore.yaml")
	load := func() *ConfigFile {
		t.Helper()
		f, err := LoadConfig(name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	f := load()
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a file without settings was written")
	}
	if err := f.Edit(map[string]string{"max-pods": "50"}); err != nil {
		t.Fatal(err)
	}
	if err := f.AddPairs("node-labels", map[string]string{"site": "plant-1", "on": "true"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(); err != nil || f.Changed() {
		t.Fatal(err, f.Changed())
	}
	if got, want := read(), "max-pods: 50\nnode-labels: on=true;site=plant-1\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	const ours = "# ours\n\nmqtt-listen: [\"tcp://:1883\", tcp://:1884] # two\nmax-pods: \"50\"\nnode-labels: {site: old, rack: a}\n"
	if err := os.WriteFile(name, []byte(ours), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	f = load()
	if got := f.Values("mqtt-listen"); !slices.Equal(got, []string{"tcp://:1883", "tcp://:1884"}) {
		t.Errorf("%q", got)
	}
	if got := f.Values("max-pods"); !slices.Equal(got, []string{"50"}) || f.Values("cloud") != nil || f.Values("node-labels") != nil {
		t.Errorf("%q", got)
	}
	if err := f.Edit(map[string]string{"max-pods": "50"}); err != nil {
		t.Error(err)
	}
	if err := f.AddPairs("node-labels", map[string]string{"rack": "a"}); err != nil || f.Changed() {
		t.Error("the same values are a change:", err)
	}
	for _, site := range []string{"plant-1", "plant-2"} { // the second time the pairs are on one line
		f = load()
		if err := f.AddPairs("node-labels", map[string]string{"site": site}); err != nil {
			t.Fatal(err)
		}
		if err := f.Write(); err != nil {
			t.Fatal(err)
		}
		if got, want := read(), strings.Replace(ours, "{site: old, rack: a}", "rack=a;site="+site, 1); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(err, info.Mode())
	}
	if got, want := load().Pairs("node-labels"), map[string]string{"rack": "a", "site": "plant-2"}; !maps.Equal(got, want) {
		t.Error(got)
	}
}

// TestConfigFileRefused: what is no configuration file is named.
func TestConfigFileRefused(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{"- a\n": "setting: value", "a: [\n": "correct the YAML", strings.Repeat("#", maxConfig+1): "not a configuration file"} {
		name := filepath.Join(dir, "f.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := LoadConfig(dir); err == nil {
		t.Error("a folder was read")
	}
}
