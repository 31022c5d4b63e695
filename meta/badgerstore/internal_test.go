package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
)

// raw changes a closed store's data behind its back.
func raw(t *testing.T, dir string, change func(db *badger.DB) error) {
	t.Helper()
	db, err := badger.OpenManaged(profile(filepath.Join(dir, dataName), nil, Config{}.mustDefaults(t).Logger))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func (c Config) mustDefaults(t *testing.T) Config {
	t.Helper()
	c.Dir = "unused"
	c, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestUnfinishedBatchIsUndone leaves what a crash leaves in the middle of a
// batch of several transactions: entries of a version above the revision.
func TestUnfinishedBatchIsUndone(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 3*piece)
	at, err := s.Apply(t.Context(), meta.Op{Key: "local/kept", Value: []byte("1")}, meta.Op{Key: "local/big", Value: []byte(big)}, meta.Op{Key: "local/empty"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a crash during the undo leaves the same kind of entries
		raw(t, dir, func(db *badger.DB) error {
			var entries []entry
			for i := range 3000 {
				of, _, _ := encode(fmt.Sprintf("local/new/%d", i), []byte("half"), at+1, 0)
				entries = append(entries, of...)
			}
			for _, key := range []string{"local/kept", "local/big", "local/empty"} {
				of, _, _ := encode(key, []byte("half"), at+1, 3)
				entries = append(entries, of...)
			}
			for len(entries) > 0 {
				n := min(len(entries), 500)
				if err := writeTxn(db, db.MaxVersion()+1, entries[:n]); err != nil {
					return err
				}
				entries = entries[n:]
			}
			return nil
		})
	}
	for range 2 {
		s, err = Open(Config{Dir: dir, Damaged: func(e *meta.CorruptError) { t.Error(e) }})
		if err != nil {
			t.Fatal(err)
		}
		list, now, err := s.List(t.Context(), "")
		if err != nil || len(list) != 3 || now <= at {
			t.Errorf("%d records at %d, %v", len(list), now, err)
		}
		for key, want := range map[string]string{"local/kept": "1", "local/big": big, "local/empty": ""} {
			if r, err := s.Get(t.Context(), key); err != nil || string(r.Value) != want || r.Revision != at {
				t.Errorf("%s: %d bytes at %d, %v", key, len(r.Value), r.Revision, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, dir, func(db *badger.DB) error {
		_, now, err := readState(db)
		if err != nil {
			return err
		}
		now.revision++
		return write(db, now, []entry{{[]byte(schemaKey), binary.AppendUvarint(nil, schema+1)}})
	})
	refused := func() {
		t.Helper()
		_, err := Open(Config{Dir: dir, Damaged: func(e *meta.CorruptError) { t.Error(e) }})
		if e, is := errors.AsType[*meta.NewerError](err); !is || e.Schema != schema+1 || !strings.Contains(err.Error(), "use the newer program") {
			t.Errorf("Open of a newer store: %v", err)
		}
	}
	refused()
	// FORMAT alone decides; badger is not opened.
	data := filepath.Join(dir, dataName)
	if err := writeFormat(data, format{schema: schema + 1, key: noKey}); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(data, badger.ManifestFilename)
	if err := os.WriteFile(manifest, []byte("of a form that is not known"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused()
	if b, err := os.ReadFile(manifest); err != nil || string(b) != "of a form that is not known" {
		t.Errorf("a newer store was changed: %q, %v", b, err)
	}
}

// TestUpgrade opens a store of schema 1.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte("1")}, meta.Op{Key: "local/big", Value: make([]byte, 3*piece)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, dir, func(db *badger.DB) error {
		return writeTxn(db, at, []entry{
			{[]byte(schemaKey), binary.AppendUvarint(nil, 1)},
			{[]byte(stateKey), binary.BigEndian.AppendUint64(nil, at)},
		})
	})
	for _, name := range []string{formatName, revisionName} {
		if err := os.Remove(filepath.Join(dir, dataName, name)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		s, err = Open(Config{Dir: dir, Damaged: func(e *meta.CorruptError) { t.Error(e) }})
		if err != nil {
			t.Fatal(err)
		}
		if list, now, err := s.List(t.Context(), ""); err != nil || len(list) != 2 || list[0].Revision != at || now != at+1 {
			t.Errorf("%d records at %d, %v", len(list), now, err)
		}
		if f, ok := readFormat(filepath.Join(dir, dataName)); !ok || f.schema != schema || f.key != noKey {
			t.Errorf("format %+v, %t", f, ok)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzRegistryEnd(f *testing.F) {
	f.Add(make([]byte, 28))
	f.Add(append(make([]byte, 28), 0, 0, 0, 1, 1, 2, 3, 4, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		if end := registryEnd(b); end > len(b) {
			t.Errorf("the end of %d bytes is at %d", len(b), end)
		}
	})
}

// TestFailedWriteEndsWriting puts a badger that fails all writes under a store: the first
// Apply returns an error, and no later one is acknowledged.
func TestFailedWriteEndsWriting(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock() // the committer may still be at work on what Apply made durable
	closed := s.db.Close()
	s.db, err = badger.OpenManaged(profile(filepath.Join(dir, dataName), nil, s.log).WithReadOnly(true))
	s.mu.Unlock()
	if closed != nil || err != nil {
		t.Fatal(closed, err)
	}
	for range 2 {
		if _, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte("2")}); !errors.Is(err, meta.ErrFailed) {
			t.Errorf("Apply: %v", err)
		}
	}
	<-s.Failing()
	if r, err := s.Get(t.Context(), "local/a"); err != nil || string(r.Value) != "1" {
		t.Errorf("Get: %q, %v", r.Value, err)
	}
	if stats := s.Stats(); !errors.Is(stats.Failure, meta.ErrFailed) || stats.Refused != 1 {
		t.Errorf("figures: %+v", stats)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzVerifyIndex(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("index\x00\x00\x00\x05\x10\x01\x00\x00\x00\x02"))
	f.Add([]byte("index\x00\x00\x00\x05\x10\x01\xff\xff\xff\xff"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = verifyIndex(b) // must not panic, whatever bytes a disk returns
	})
}

func FuzzParseHead(f *testing.F) {
	entries, _, _ := encode("k", []byte("value"), 7, 0)
	f.Add(entries[0].value)
	entries, _, _ = encode("k", make([]byte, 2*piece+1), 7, 0)
	f.Add(entries[0].value)
	f.Add([]byte{})
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		h, value, err := parseHead(stored)
		if err != nil {
			return
		}
		if h.pieces < 0 || h.pieces > meta.MaxValue/piece+1 || len(value) > len(stored) || h.revision != binary.BigEndian.Uint64(stored) {
			t.Errorf("parseHead(%x) = %v, %x", stored, h, value)
		}
	})
}
