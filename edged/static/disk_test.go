package static

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestDiskThatFails: a manifest that cannot be read is read again at each look
// until it can be, and is complained of once.
func TestDiskThatFails(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	f, err := New(Config{Dir: dir, Node: "n", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(path, []byte(web), 0o600); err != nil {
		t.Fatal(err)
	}
	f.readFile = func(string) ([]byte, error) { return nil, &os.PathError{Op: "read", Path: path, Err: syscall.EIO} }
	for range 3 {
		if f.scan() {
			t.Error("a pod came from a file that cannot be read")
		}
	}
	if n := strings.Count(log.String(), "static pod is skipped"); n != 1 {
		t.Errorf("%d complaints: %s", n, log.String())
	}
	f.readFile = readManifest
	if got := accepted(f); len(got) > 0 || !f.scan() {
		t.Errorf("%q before, %q after the disk recovered", got, accepted(f))
	}
	if got := accepted(f); !slices.Equal(got, []string{"a.yaml web-n"}) {
		t.Errorf("%q", got)
	}
	f.readFile = func(string) ([]byte, error) { t.Error("a file that did not change was read"); return nil, nil }
	f.scan()
}
