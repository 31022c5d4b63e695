package badgerstore_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// TestRestore restores a plain store as an encrypted one, and refuses a backup
// that is not whole.
func TestRestore(t *testing.T) {
	cfg := badgerstore.Config{Dir: memoryDir(t), Damaged: func(e *meta.CorruptError) { t.Error(e) }}
	newest := filled(t, cfg)
	s := openAs(t, cfg)
	v, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if err := errors.Join(meta.Backup(t.Context(), v, &backup), v.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.Restore(t.Context(), cfg, bytes.NewReader(backup.Bytes()[:backup.Len()/2])); !errors.Is(err, meta.ErrBackup) {
		t.Errorf("Restore of half a backup: %v", err)
	}
	openAs(t, cfg).Close() // and it is as it was
	sealed := cfg
	sealed.KeyFile = filepath.Join(memoryDir(t), "key")
	before, err := badgerstore.Restore(t.Context(), sealed, &backup)
	if err != nil || filepath.Dir(before) != cfg.Dir {
		t.Fatalf("Restore: %q, %v", before, err)
	}
	if _, err := badgerstore.Open(cfg); !errors.Is(err, badgerstore.ErrKey) {
		t.Errorf("Open without the key: %v", err)
	}
	s = openAs(t, sealed)
	defer s.Close()
	if list, now, err := s.List(t.Context(), ""); err != nil || len(list) != 50 || now <= newest {
		t.Errorf("restored %d records at %d, %v; it was at %d", len(list), now, err, newest)
	}
}
