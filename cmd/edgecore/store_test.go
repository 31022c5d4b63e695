package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// TestStoreCommands backs up a plain store, restores it as an encrypted one, and
// gives that another key.
func TestStoreCommands(t *testing.T) {
	c := &cli{DataDir: t.TempDir()}
	file, keyFile := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "key")
	if err := (&backupCmd{File: file}).Run(t.Context(), c); err == nil {
		t.Error("a store that is not there was backed up")
	}
	s, err := badgerstore.Open(storeFlags{}.config(c))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := (&backupCmd{File: file}).Run(t.Context(), c); !errors.Is(err, badgerstore.ErrInUse) {
		t.Errorf("backup under a running agent: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := (&backupCmd{File: file}).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("backup file: %v, %v", info, err)
	}
	sealed := storeFlags{StoreKey: keyFile}
	if err := (&restoreCmd{sealed, file}).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&rotateKeyCmd{sealed}).Run(c); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(keyFile); err != nil || string(after) == string(before) {
		t.Errorf("the key has not changed, %v", err)
	}
	if s, err = badgerstore.Open(sealed.config(c)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r, err := s.Get(t.Context(), "local/a"); err != nil || string(r.Value) != "1" {
		t.Errorf("after all that: %q, %v", r.Value, err)
	}
}
