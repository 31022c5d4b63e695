//go:build unix

package regular_test

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/regular"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("text"), 0o600), os.Symlink("file", at("link")), os.Symlink("gone", at("dangling")),
		syscall.Mkfifo(at("fifo"), 0o600), os.Mkdir(at("folder"), 0o700), os.Link(at("file"), at("another")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"file": true, "another": true, "link": false, "dangling": false, "fifo": false, "folder": false, "none": false,
	} {
		f, err := regular.Open(at(name))
		if (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if b, err := io.ReadAll(f); string(b) != "text" || err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		f.Close()
	}
	if f, err := regular.Open("/dev/null"); err == nil {
		f.Close()
		t.Error("a device was opened")
	}
}
