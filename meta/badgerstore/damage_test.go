package badgerstore_test

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// filled makes a store with some data on disk and closes it.
func filled(t *testing.T, cfg badgerstore.Config) (newest uint64) {
	t.Helper()
	s, err := badgerstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if newest, err = s.Apply(t.Context(), meta.Op{Key: "local/" + strings.Repeat("k", i+1), Value: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return newest
}

func damageFile(t *testing.T, pattern string, how func([]byte) []byte) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no file %s, %v", pattern, err)
	}
	b, err := os.ReadFile(names[0])
	if err == nil {
		err = os.WriteFile(names[0], how(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedStoreIsSetAside(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/3] ^= 0xff; return b }
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	empty := func([]byte) []byte { return nil }
	for name, damage := range map[string]func(t *testing.T, data string){
		"bit in a table": func(t *testing.T, data string) { damageFile(t, data+"/*.sst", flip) },
		"table cut off":  func(t *testing.T, data string) { damageFile(t, data+"/*.sst", cut) },
		"table empty":    func(t *testing.T, data string) { damageFile(t, data+"/*.sst", empty) },
		"manifest scrambled": func(t *testing.T, data string) {
			damageFile(t, data+"/MANIFEST", func([]byte) []byte { return []byte("no manifest at all") })
		},
		"table is gone": func(t *testing.T, data string) {
			names, _ := filepath.Glob(data + "/*.sst")
			if err := os.Remove(names[0]); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			newest := filled(t, badgerstore.Config{Dir: dir})
			damage(t, filepath.Join(dir, "data"))
			var reported *meta.CorruptError
			s, err := badgerstore.Open(badgerstore.Config{
				Dir: dir, Damaged: func(e *meta.CorruptError) { reported = e },
				Now: func() time.Time { return time.Now().Add(time.Minute) },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if reported == nil || reported.Path != dir || reported.Reason == nil {
				t.Fatalf("reported %v", reported)
			}
			if _, err := os.Stat(filepath.Join(reported.Aside, "MANIFEST")); err != nil || filepath.Dir(reported.Aside) != dir {
				t.Errorf("set aside as %s: %v", reported.Aside, err)
			}
			list, now, err := s.List(t.Context(), "")
			if err != nil || len(list) != 0 {
				t.Errorf("new store holds %d records, %v", len(list), err)
			}
			if now <= newest {
				t.Errorf("new store begins at revision %d, the lost one was at %d", now, newest)
			}
		})
	}
}

func TestOldDamagedFoldersGo(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for range 6 {
		filled(t, badgerstore.Config{Dir: dir})
		damageFile(t, filepath.Join(dir, "data", "*.sst"), func(b []byte) []byte { return b[:len(b)/2] })
		s, err := badgerstore.Open(badgerstore.Config{Dir: dir, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if names, _ := filepath.Glob(dir + "/damaged-20261124T120000Z*"); len(names) != 3 {
		t.Errorf("damaged folders: %v, want 3", names)
	}
}

func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if !errors.Is(err, badgerstore.ErrInUse) || !strings.Contains(err.Error(), "process ") {
		t.Errorf("second Open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestFolderCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.Open(badgerstore.Config{Dir: file}); err == nil || !strings.Contains(err.Error(), "choose a folder, not a file") {
		t.Errorf("a file as folder: %v", err)
	}
	if _, err := badgerstore.Open(badgerstore.Config{}); err == nil || !strings.Contains(err.Error(), "Config.Dir") {
		t.Errorf("no folder: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		return // root may write anywhere
	}
	if _, err := badgerstore.Open(badgerstore.Config{Dir: dir}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder without the right to write: %v", err)
	}
}

func TestReserve(t *testing.T) {
	s, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir(), Reserve: math.MaxInt64})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, before, _ := s.List(t.Context(), "")
	_, err = s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte("1")})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Apply on a disk without room: %v", err)
	}
	if list, now, err := s.List(t.Context(), ""); err != nil || len(list) != 0 || now != before {
		t.Errorf("refused batch left %v at %d, %v", list, now, err)
	}
}

func TestEncryption(t *testing.T) {
	dir, keys := t.TempDir(), t.TempDir()
	cfg := badgerstore.Config{Dir: dir, KeyFile: filepath.Join(keys, "key")}
	secret := "a word that must not be found on disk"
	s, err := badgerstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), meta.Op{Key: "down/secrets/a/b", Value: []byte(secret)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(cfg.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, _ error) error {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), secret) {
			t.Errorf("%s holds the secret in the clear", name)
		}
		return nil
	})
	for name, bad := range map[string]struct {
		cfg  badgerstore.Config
		want string
	}{
		"no key":    {badgerstore.Config{Dir: dir}, "is encrypted: name its key file"},
		"other key": {badgerstore.Config{Dir: dir, KeyFile: keyFile(t, strings.Repeat("ab", 32), 0o600)}, "is not the one"},
		"open mode": {badgerstore.Config{Dir: dir, KeyFile: keyFile(t, strings.Repeat("ab", 32), 0o644)}, "chmod 600"},
		"short key": {badgerstore.Config{Dir: dir, KeyFile: keyFile(t, "abcd", 0o600)}, "64 hexadecimal digits"},
		"key gone":  {badgerstore.Config{Dir: dir, KeyFile: filepath.Join(keys, "other")}, "is gone"},
	} {
		if _, err := badgerstore.Open(bad.cfg); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s, err = badgerstore.Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r, err := s.Get(t.Context(), "down/secrets/a/b"); err != nil || string(r.Value) != secret {
		t.Errorf("with the right key: %q, %v", r.Value, err)
	}
}

func TestKeyForPlainStore(t *testing.T) {
	dir := t.TempDir()
	filled(t, badgerstore.Config{Dir: dir})
	if _, err := badgerstore.Open(badgerstore.Config{Dir: dir, KeyFile: keyFile(t, strings.Repeat("ab", 32), 0o600)}); err == nil {
		t.Error("a store that is not encrypted was opened with a key")
	}
	open(t, dir) // the store is unchanged
}

func keyFile(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestDamageCanBeAnError opens damaged stores with OnDamage: Fail: each time the
// error names the remedy, and the files stay as they are; SetAside works after it.
func TestDamageCanBeAnError(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, data string){
		"bit in a table": func(t *testing.T, data string) {
			damageFile(t, data+"/*.sst", func(b []byte) []byte { b[len(b)/3] ^= 0xff; return b })
		},
		"manifest scrambled": func(t *testing.T, data string) {
			damageFile(t, data+"/MANIFEST", func([]byte) []byte { return []byte("no manifest at all") })
		},
		"newest writes are gone": func(t *testing.T, data string) {
			damageFile(t, data+"/REVISION", func([]byte) []byte { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			filled(t, badgerstore.Config{Dir: dir})
			damage(t, filepath.Join(dir, "data"))
			cfg := badgerstore.Config{Dir: dir, OnDamage: badgerstore.Fail, Damaged: func(e *meta.CorruptError) { t.Errorf("told of %v", e) }}
			for range 2 {
				s, err := badgerstore.Open(cfg)
				corrupt, ok := errors.AsType[*meta.CorruptError](err)
				if err == nil {
					s.Close()
					t.Fatal("a damaged store was opened")
				}
				if !ok || corrupt.Path != dir || corrupt.Aside != "" || !strings.Contains(err.Error(), "restore a backup") {
					t.Fatalf("the error is %v", err)
				}
			}
			if aside, _ := filepath.Glob(filepath.Join(dir, "damaged-*")); len(aside) > 0 {
				t.Errorf("%q were set aside", aside)
			}
			called := false
			cfg.OnDamage, cfg.Damaged = badgerstore.SetAside, func(*meta.CorruptError) { called = true }
			s, err := badgerstore.Open(cfg)
			if err != nil || !called {
				t.Fatalf("with SetAside: %v, Damaged called: %v", err, called)
			}
			s.Close()
		})
	}
	if _, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir(), OnDamage: 7}); err == nil || !strings.Contains(err.Error(), "OnDamage") {
		t.Errorf("an unknown OnDamage: %v", err)
	}
}
