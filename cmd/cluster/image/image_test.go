package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestArchive(t *testing.T) {
	source := filepath.Join(t.TempDir(), "prog")
	if err := os.WriteFile(source, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	img := Image{Refs: []string{"local/x:1"}, Entrypoint: []string{"/bin/prog"}, Env: []string{"A=b"}, User: "7",
		Files: []File{{Path: "/bin/prog", Source: source}}}
	var first, second bytes.Buffer
	if err := Write(&first, img); err != nil {
		t.Fatal(err)
	}
	if err := Write(&second, img); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of one image differ")
	}
	parts := read(t, first.Bytes())
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	layer := parts[manifest[0].Layers[0]]
	if got := digest(layer) + ".tar"; got != manifest[0].Layers[0] {
		t.Errorf("layer %s is named %s", got, manifest[0].Layers[0])
	}
	if config := string(parts[manifest[0].Config]); !strings.Contains(config, digest(layer)) || !strings.Contains(config, `"User":"7"`) {
		t.Errorf("config %s", config)
	}
	if got := read(t, layer)["bin/prog"]; string(got) != "program" {
		t.Errorf("file in the layer is %q", got)
	}
}

func TestImagesShareTheirBase(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base.tar")
	if err := os.WriteFile(base, []byte("a tar file"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := Write(&out,
		Image{Refs: []string{"a:1", "a:2"}, Base: base, Files: []File{{Path: "/bin/sh", Link: "busybox"}}},
		Image{Refs: []string{"b:1"}, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	parts := read(t, out.Bytes())
	var manifest []struct{ RepoTags, Layers []string }
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	want := digest([]byte("a tar file")) + ".tar"
	if len(manifest) != 2 || len(manifest[0].RepoTags) != 2 || manifest[0].Layers[0] != want || manifest[1].Layers[0] != want {
		t.Errorf("manifest %v", manifest)
	}
	if n := bytes.Count(out.Bytes(), []byte("a tar file")); n != 1 {
		t.Errorf("the base is there %d times", n)
	}
	for r := tar.NewReader(bytes.NewReader(parts[manifest[0].Layers[1]])); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("no link in the upper layer: %v", err)
		}
		if h.Name == "bin/sh" {
			if h.Typeflag != tar.TypeSymlink || h.Linkname != "busybox" {
				t.Errorf("link %+v", h)
			}
			return
		}
	}
}

func TestBadInput(t *testing.T) {
	for name, img := range map[string]Image{
		"no name":       {},
		"relative path": {Refs: []string{"x"}, Files: []File{{Path: "bin/x", Source: "/dev/null"}}},
		"no base":       {Refs: []string{"x"}, Base: "/does/not/exist"},
		"no source":     {Refs: []string{"x"}, Files: []File{{Path: "/x", Source: "/does/not/exist"}}},
	} {
		if err := Write(io.Discard, img); err == nil || !strings.HasPrefix(err.Error(), "image: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func read(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	parts := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		if parts[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
