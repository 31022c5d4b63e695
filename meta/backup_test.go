package meta_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// backupOf returns a backup of n records.
func backupOf(tb testing.TB, n int) []byte {
	tb.Helper()
	s := memstore.New()
	defer s.Close()
	for i := range n {
		if _, err := s.Apply(tb.Context(), meta.Op{Key: fmt.Sprintf("local/%03d", i), Value: []byte(strings.Repeat("x", i))}); err != nil {
			tb.Fatal(err)
		}
	}
	v, err := s.Snapshot(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	if err := meta.Backup(tb.Context(), v, &b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func read(b []byte) (records []meta.Record, err error) {
	for r, err := range meta.ReadBackup(bytes.NewReader(b)) {
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

func TestReadBackup(t *testing.T) {
	records, err := read(backupOf(t, 200))
	if err != nil || len(records) != 200 || records[7].Key != "local/007" || len(records[7].Value) != 7 || records[7].Revision != 8 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// TestReadBackupRefuses cuts a backup at every length and flips a bit in every
// byte: none of these may pass.
func TestReadBackupRefuses(t *testing.T) {
	good := backupOf(t, 20)
	for n := range good {
		if _, err := read(good[:n]); !errors.Is(err, meta.ErrBackup) {
			t.Errorf("cut at %d of %d: %v", n, len(good), err)
		}
		bad := bytes.Clone(good)
		bad[n] ^= 1 << (n % 8)
		if _, err := read(bad); !errors.Is(err, meta.ErrBackup) {
			t.Errorf("bit flipped in byte %d: %v", n, err)
		}
	}
}

func FuzzReadBackup(f *testing.F) {
	f.Add(backupOf(f, 3))
	f.Add([]byte("edgekit store backup 1\n\xff\xff\x03"))
	f.Add([]byte("edgekit store backup 1\n\x01\xff\xff\xff\x01\x00k"))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := read(b)
		if err == nil && len(b) < 23+len(records)*4+34 {
			t.Errorf("%d bytes held %d records", len(b), len(records))
		}
	})
}
