package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	for range 3 { // a crash while undoing leaves more of the same
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
	_, err = Open(Config{Dir: dir, Damaged: func(e *meta.CorruptError) { t.Error(e) }})
	if err == nil || !strings.Contains(err.Error(), "use the newer program") {
		t.Errorf("Open of a newer store: %v", err)
	}
}

// TestFailedWriteEndsWriting puts a badger that takes no writes under a store:
// the first Apply tells, and none is acknowledged from then on.
func TestFailedWriteEndsWriting(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	if s.db, err = badger.OpenManaged(profile(filepath.Join(dir, dataName), nil, s.log).WithReadOnly(true)); err != nil {
		t.Fatal(err)
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
		_, _ = verifyIndex(b) // it must not panic, whatever a disk returns
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
