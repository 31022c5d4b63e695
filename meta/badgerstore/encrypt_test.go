package badgerstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

const secret = "a secret that nobody may find on the disk"

// plainStore makes an unencrypted store with a secret in it.
func plainStore(t *testing.T, dir string) (newest uint64) {
	t.Helper()
	s := openAs(t, badgerstore.Config{Dir: dir})
	defer s.Close()
	for i := range 300 {
		if _, err := s.Apply(t.Context(), meta.Op{Key: fmt.Sprintf("down/secrets/a/%d", i), Value: []byte(strings.Repeat(secret, 200))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := meta.MarkSynced(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	newest, err := s.Apply(t.Context(), meta.Op{Key: "local/big", Value: make([]byte, 300<<10)})
	if err != nil {
		t.Fatal(err)
	}
	return newest
}

// wantPlainStore checks the data that plainStore wrote, in the store of cfg.
func wantPlainStore(t *testing.T, cfg badgerstore.Config, newest uint64) {
	t.Helper()
	cfg.OnDamage = badgerstore.Fail
	s, err := badgerstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, at, err := s.List(t.Context(), "")
	if err != nil || len(list) != 302 || at < newest || string(list[0].Value) != strings.Repeat(secret, 200) {
		t.Errorf("%d records at %d, %v; the store had 302 at %d", len(list), at, err, newest)
	}
	if synced, err := meta.Synced(t.Context(), s); err != nil || !synced {
		t.Errorf("synced: %v, %v", synced, err)
	}
}

// inClear reports whether the secret is in a file below dir.
func inClear(t *testing.T, dir string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		found = found || bytes.Contains(b, []byte(secret))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEncrypt(t *testing.T) {
	dir := t.TempDir()
	cfg := badgerstore.Config{Dir: dir, KeyFile: filepath.Join(t.TempDir(), "key")}
	if err := badgerstore.Encrypt(t.Context(), cfg); err == nil || badgerstore.Plain(dir) {
		t.Errorf("a store that is not there: %v", err)
	}
	newest := plainStore(t, dir)
	if !badgerstore.Plain(dir) || !inClear(t, dir) {
		t.Fatal("the store is not plain")
	}
	if err := badgerstore.Encrypt(t.Context(), badgerstore.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "KeyFile") {
		t.Errorf("without a key file: %v", err)
	}
	open := openAs(t, badgerstore.Config{Dir: dir})
	if err := badgerstore.Encrypt(t.Context(), cfg); !errors.Is(err, badgerstore.ErrInUse) {
		t.Errorf("a store in use: %v", err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	if err := badgerstore.Encrypt(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	wantPlainStore(t, cfg, newest)
	if badgerstore.Plain(dir) || inClear(t, dir) {
		t.Error("the secret is still on the disk")
	}
	if err := badgerstore.Encrypt(t.Context(), cfg); err == nil {
		t.Error("an encrypted store was encrypted")
	}
	if _, err := badgerstore.Open(badgerstore.Config{Dir: dir}); !errors.Is(err, badgerstore.ErrKey) {
		t.Errorf("without the key: %v", err)
	}
}

// TestReplaceCutOff opens the folder as a power cut leaves it between any two steps of a
// replacement: the store is whole each time, and no plain data is left beside an
// encrypted store.
func TestReplaceCutOff(t *testing.T) {
	template := t.TempDir()
	newest := plainStore(t, filepath.Join(template, "plain"))
	key := filepath.Join(template, "key")
	if err := os.CopyFS(filepath.Join(template, "sealed"), os.DirFS(filepath.Join(template, "plain"))); err != nil {
		t.Fatal(err)
	}
	if err := badgerstore.Encrypt(t.Context(), badgerstore.Config{Dir: filepath.Join(template, "sealed"), KeyFile: key}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		folders map[string]string // what is in dir, and which store it is
		plain   bool              // the old store counts
	}{
		{"while copying", map[string]string{"data": "plain", "restoring/data": "sealed"}, true},
		{"before the first rename is synced", map[string]string{"data": "plain", "next": "sealed"}, true},
		{"when the old one is out of the way", map[string]string{"plain": "plain", "next": "sealed"}, false},
		{"before the old one is removed", map[string]string{"data": "sealed", "plain": "plain"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for folder, which := range tt.folders {
				if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(template, which, "data"))); err != nil {
					t.Fatal(err)
				}
			}
			cfg := badgerstore.Config{Dir: dir, KeyFile: key}
			if tt.plain {
				cfg.KeyFile = ""
			}
			wantPlainStore(t, cfg, newest)
			if badgerstore.Plain(dir) != tt.plain {
				t.Errorf("the store is plain: %v", !tt.plain)
			}
			if tt.plain {
				if err := badgerstore.Encrypt(t.Context(), badgerstore.Config{Dir: dir, KeyFile: key}); err != nil {
					t.Fatal(err)
				}
				wantPlainStore(t, badgerstore.Config{Dir: dir, KeyFile: key}, newest)
			}
			if inClear(t, dir) {
				t.Error("the secret is still on the disk")
			}
		})
	}
}
