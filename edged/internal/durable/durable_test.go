package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/durable"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "record.json")
	if err := os.WriteFile(name+".new", []byte("what a crash left, which is longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first", "second"} {
		if err := durable.WriteFile(name, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != content {
			t.Errorf("%q, %v, want %q", got, err, content)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.Mkdir(name+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(name, []byte("third")); err == nil {
		t.Error("no error for a file that cannot be written")
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "second" {
		t.Errorf("after an error: %q, %v", got, err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "absent", "x"), nil); err == nil {
		t.Error("no error for a folder that does not exist")
	}
}
