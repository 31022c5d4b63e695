package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpen gives the browser a file that leads to the address, and no argument with the secret.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv("PATH", dir)
	script := "#!/bin/sh\nprintf %s \"$*\" > " + filepath.Join(dir, "asked") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	if name, _ := command("linux", ""); name != "xdg-open" {
		t.Fatal(name)
	}
	remove, err := Open(t.Context(), "http://127.0.0.1:1/?key=secret&x=\"")
	if err != nil {
		t.Skip(err) // another system's program
	}
	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil || strings.Contains(string(asked), "secret") {
		t.Fatalf("the browser was started with %q, %v", asked, err)
	}
	text, err := os.ReadFile(string(asked))
	if err != nil || !strings.Contains(string(text), `url=http://127.0.0.1:1/?key=secret&amp;x=&#34;"`) {
		t.Errorf("the file has %q, %v", text, err)
	}
	for path, mode := range map[string]os.FileMode{string(asked): 0o600, filepath.Dir(string(asked)): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want %v", path, info.Mode().Perm(), err, mode)
		}
	}
	remove()
	if _, err := os.Stat(filepath.Dir(string(asked))); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

// TestNoBrowser says what is missing, and leaves nothing.
func TestNoBrowser(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("PATH", "")
	if _, err := Open(t.Context(), "http://127.0.0.1:1/?key=secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "edgectl-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
