package static

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const web = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: busybox}]}\n"

// TestNameThatIsTaken: a manifest whose pod's name another file has waits, and
// is taken over when the name is free, though nobody touches the file again.
func TestNameThatIsTaken(t *testing.T) {
	other := strings.Replace(web, "web", "other", 1)
	for _, tt := range []struct {
		name  string
		files map[string]string // at first
		then  map[string]string // what is written next; "" removes
		want  []string          // file and pod after the next look
	}{
		{"the first goes", map[string]string{"a.yaml": web, "b.yaml": web + "#"}, map[string]string{"a.yaml": ""}, []string{"b.yaml web-n"}},
		{"the first is renamed", map[string]string{"a.yaml": web, "b.yaml": web + "#"}, map[string]string{"a.yaml": other}, []string{"a.yaml other-n", "b.yaml web-n"}},
		{"two change names", map[string]string{"a.yaml": web, "b.yaml": other}, map[string]string{"a.yaml": other, "b.yaml": strings.Replace(web, "web", "third", 1)}, []string{"a.yaml other-n", "b.yaml third-n"}},
		{"nothing is freed", map[string]string{"a.yaml": web, "b.yaml": web + "#"}, map[string]string{"a.yaml": web + "##"}, []string{"a.yaml web-n"}},
		{"the second changes its mind", map[string]string{"a.yaml": web, "b.yaml": web + "#"}, map[string]string{"b.yaml": other}, []string{"a.yaml web-n", "b.yaml other-n"}},
		{"the first is broken", map[string]string{"a.yaml": web, "b.yaml": web + "#"}, map[string]string{"a.yaml": "kind: ["}, []string{"a.yaml web-n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := New(Config{Dir: dir, Node: "n"})
			if err != nil {
				t.Fatal(err)
			}
			for _, files := range []map[string]string{tt.files, tt.then} {
				for name, text := range files {
					if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
					if text == "" {
						continue
					}
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				f.scan()
			}
			if f.scan() {
				t.Error("one look was not enough")
			}
			if got := accepted(f); !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func accepted(f *Folder) []string {
	var out []string
	for name, known := range f.files {
		if known.pod != nil {
			out = append(out, name+" "+known.pod.Name)
		}
	}
	slices.Sort(out)
	return out
}
