package badgerstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// TestRotateKey rotates the key, and repeats that after a crash at each step of a
// rotation.
func TestRotateKey(t *testing.T) {
	cfg := badgerstore.Config{Dir: memoryDir(t), KeyFile: filepath.Join(memoryDir(t), "key"), Damaged: func(e *meta.CorruptError) { t.Error(e) }}
	newest := filled(t, cfg)
	save := func(names ...string) map[string][]byte {
		files := map[string][]byte{}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = b
		}
		return files
	}
	put := func(files map[string][]byte) {
		for name, b := range files {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	registry, format := filepath.Join(cfg.Dir, "data", "KEYREGISTRY"), filepath.Join(cfg.Dir, "data", "FORMAT")
	before := save(cfg.KeyFile, registry, format)
	if err := badgerstore.RotateKey(cfg); err != nil {
		t.Fatal(err)
	}
	after := save(cfg.KeyFile, registry, format)
	for _, name := range []string{cfg.KeyFile, registry, format} {
		if bytes.Equal(before[name], after[name]) {
			t.Errorf("%s has not changed", name)
		}
	}
	next := cfg.KeyFile + ".next"
	for name, stage := range map[string]map[string][]byte{
		"done":                   after,
		"cut off before all":     {cfg.KeyFile: before[cfg.KeyFile], registry: before[registry], format: before[format], next: after[cfg.KeyFile]},
		"cut off after registry": {cfg.KeyFile: before[cfg.KeyFile], registry: after[registry], format: before[format], next: after[cfg.KeyFile]},
		"cut off after format":   {cfg.KeyFile: before[cfg.KeyFile], registry: after[registry], format: after[format], next: after[cfg.KeyFile]},
	} {
		put(stage)
		s := openAs(t, cfg)
		if list, now, err := s.List(t.Context(), ""); err != nil || len(list) != 50 || now != newest {
			t.Errorf("%s: %d records at %d, %v", name, len(list), now, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(next); err == nil {
			t.Errorf("%s: %s is still there", name, next)
		}
	}
	put(map[string][]byte{cfg.KeyFile: before[cfg.KeyFile], registry: after[registry], format: after[format]})
	if _, err := badgerstore.Open(cfg); !errors.Is(err, badgerstore.ErrKey) {
		t.Errorf("Open with the key from before: %v", err)
	}
}

// TestWrongKeyIsNoDamage flips bits where the key is checked. With a wrong key the files
// stay as they are; with the right one the damage is recognized.
func TestWrongKeyIsNoDamage(t *testing.T) {
	cfg := badgerstore.Config{Dir: memoryDir(t), KeyFile: filepath.Join(memoryDir(t), "key")}
	filled(t, cfg)
	wrong := cfg
	wrong.KeyFile = keyFile(t, strings.Repeat("ab", 32), 0o600)
	wrong.Damaged = func(e *meta.CorruptError) { t.Error(e) }
	for _, keyless := range []badgerstore.Config{wrong, {Dir: cfg.Dir, Damaged: wrong.Damaged}} {
		if _, err := badgerstore.Open(keyless); !errors.Is(err, badgerstore.ErrKey) {
			t.Errorf("Open with a wrong key: %v", err)
		}
	}
	if err := badgerstore.RotateKey(wrong); !errors.Is(err, badgerstore.ErrKey) {
		t.Errorf("RotateKey with a wrong key: %v", err)
	}
	damageFile(t, filepath.Join(cfg.Dir, "data", "KEYREGISTRY"), func(b []byte) []byte { b[20] ^= 4; return b })
	if _, err := badgerstore.Open(wrong); !errors.Is(err, badgerstore.ErrKey) {
		t.Errorf("Open of a damaged store with a wrong key: %v", err)
	}
	var reported *meta.CorruptError
	cfg.Damaged = func(e *meta.CorruptError) { reported = e }
	openAs(t, cfg).Close()
	if reported == nil || reported.Aside == "" {
		t.Errorf("a damaged key registry: reported %v", reported)
	}
}

// TestCutOffFiles: what a crash left of a key file, or of FORMAT, is removed when the file is
// written again. Files of somebody else stay.
func TestCutOffFiles(t *testing.T) {
	keys := memoryDir(t)
	cfg := badgerstore.Config{Dir: memoryDir(t), KeyFile: filepath.Join(keys, "key")}
	data := filepath.Join(cfg.Dir, "data")
	left := []string{filepath.Join(keys, ".key-123"), filepath.Join(keys, ".key.next-123"), filepath.Join(data, ".FORMAT-123")}
	stay := []string{filepath.Join(keys, "key-2"), filepath.Join(keys, ".other-1")}
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(left, stay...) {
		if err := os.WriteFile(name, []byte("00"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	filled(t, cfg)
	if err := badgerstore.RotateKey(cfg); err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	for _, name := range stay {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	if names, err := filepath.Glob(filepath.Join(keys, "*")); err != nil || len(names) != 3 {
		t.Errorf("%v, %v: want the key and the others", names, err)
	}
}
