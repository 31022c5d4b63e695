package packages

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/cmd/release/programs"
)

// TestWriteEdgecore: the package of edgecore alone is the one of a release, byte for byte.
func TestWriteEdgecore(t *testing.T) {
	p := programs.Platforms()[0]
	whole := build(t, p, "v0.1.0")
	bin, out := t.TempDir(), t.TempDir()
	for _, name := range programs.Names() {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho "+name+" v0.1.0\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := Build{Source: "../../..", Programs: bin, Platform: p, Version: "v0.1.0", Time: when}
	if err := b.WriteEdgecore(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d files, want 1: %v", len(entries), err)
	}
	name := entries[0].Name()
	got, err := os.ReadFile(filepath.Join(out, name))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(whole, name))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs from that of a release: %v", name, err)
	}
}
