package badgerstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
)

// TestShortLives: a store is never open for long enough to compact. Each time it rewrites
// its objects and is closed. The next Open reduces the files to the size that a store may
// have which is rewritten for ever.
func TestShortLives(t *testing.T) {
	for name, keyFile := range map[string]string{"plain": "", "sealed": filepath.Join(t.TempDir(), "key")} {
		t.Run(name, func(t *testing.T) { shortLives(t, Config{Dir: t.TempDir(), KeyFile: keyFile}) })
	}
}

func shortLives(t *testing.T, cfg Config) {
	const keys, size, lives = 20, 100 << 10, 25
	cfg.Damaged = func(e *meta.CorruptError) { t.Error(e) }
	var ops []meta.Op
	for k := range keys {
		ops = append(ops, meta.Op{Key: fmt.Sprintf("local/%d", k), Value: make([]byte, size)})
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.Apply(t.Context(), ops...)
	// A deleted key must not come back from a table that is compacted at Open.
	_, errPut := s.Apply(t.Context(), meta.Op{Key: "local/gone", Value: []byte("1")})
	now, errDelete := s.Apply(t.Context(), meta.Op{Key: "local/gone", Delete: true})
	options, content := s.options.WithNumCompactors(0), s.content
	if err := errors.Join(err, errPut, errDelete, s.Close()); err != nil {
		t.Fatal(err)
	}
	for range lives {
		now++
		var entries []entry
		for _, op := range ops {
			put, _, _ := encode(op.Key, op.Value, now, 0)
			entries = append(entries, put...)
			content = content.replace(op.Key, head{revision: at}, head{revision: now})
		}
		at = now
		db, err := badger.OpenManaged(options)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(write(db, state{now, content}, entries), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if s, err = Open(cfg); err != nil {
			t.Fatal(err)
		}
		if disk := s.Stats().DiskBytes; disk > 3*keys*size+16<<20 {
			t.Errorf("after %d short lives %d KiB of live data take %d KiB", lives, keys*size>>10, disk>>10)
		}
		list, revision, err := s.List(t.Context(), "local/")
		if err != nil || len(list) != keys || list[0].Revision != at {
			t.Errorf("%d records at %d, want %d at %d; %v", len(list), revision, keys, at, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
