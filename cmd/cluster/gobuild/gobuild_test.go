package gobuild

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBuildOnce(t *testing.T) {
	dir := module(t, "package main\n\nfunc main() {}\n")
	target := Target{Module: dir, Package: ".", Output: filepath.Join(dir, "out", "prog")}
	var out bytes.Buffer
	if err := Build(t.Context(), &out, target); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "built    prog in") {
		t.Errorf("progress %q", out.String())
	}
	if b, err := exec.Command(target.Output).CombinedOutput(); err != nil {
		t.Errorf("the program: %v %s", err, b)
	}
	out.Reset()
	if err := Build(t.Context(), &out, target); err != nil || out.Len() > 0 {
		t.Errorf("second build: %q, %v", out.String(), err)
	}
}

func TestBuildShowsTheComplaint(t *testing.T) {
	dir := module(t, "package main\n\nfunc main() { undefined() }\n")
	target := Target{Module: dir, Package: ".", Output: filepath.Join(dir, "prog")}
	err := Build(t.Context(), io.Discard, target)
	if err == nil || !strings.Contains(err.Error(), "undefined: undefined") {
		t.Errorf("error %v", err)
	}
	if left, _ := filepath.Glob(target.Output + "*"); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
}

func TestVersion(t *testing.T) {
	dir := t.TempDir()
	mod := "module x\n\nrequire (\n\ta.b/c v1.2.3 // indirect\n)\n\nrequire d.e/f v4.5.6\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"a.b/c": "v1.2.3", "d.e/f": "v4.5.6"} {
		if got, err := Version(dir, path); got != want || err != nil {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
	if _, err := Version(dir, "g.h/i"); err == nil {
		t.Error("a version of a module that is not required")
	}
}

func module(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module x\n\ngo 1.26\n", "main.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
