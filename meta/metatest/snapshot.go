package metatest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/meta"
)

func mustSnapshot(t *testing.T, s meta.Store) meta.Snapshot {
	t.Helper()
	v, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	return v
}

// contents reads a snapshot as "key=value@revision".
func contents(t *testing.T, v meta.Snapshot, prefix string) []string {
	t.Helper()
	var all []string
	for r, err := range v.Records(t.Context(), prefix) {
		if err != nil {
			t.Errorf("Records(%s): %v", prefix, err)
		}
		all = append(all, fmt.Sprintf("%s=%s@%d", r.Key, r.Value, r.Revision))
	}
	return all
}

// testSnapshot changes everything behind a snapshot.
func testSnapshot(t *testing.T, s meta.Store) {
	a := mustApply(t, s, put("local/a", "1"), put("local/b", "1"))
	b := mustApply(t, s, put("local/b", "2"), put("other/c", "3"))
	v := mustSnapshot(t, s)
	if v.Revision() != b {
		t.Errorf("snapshot is at revision %d, want %d", v.Revision(), b)
	}
	for i := range 50 {
		mustApply(t, s, del("local/a"), put("local/b", fmt.Sprint("new", i)), put(fmt.Sprint("local/new", i), "x"))
	}
	for range 2 {
		want := []string{fmt.Sprintf("local/a=1@%d", a), fmt.Sprintf("local/b=2@%d", b), fmt.Sprintf("other/c=3@%d", b)}
		if got := contents(t, v, ""); !slices.Equal(got, want) {
			t.Errorf("snapshot holds %q, want %q", got, want)
		}
		if got := contents(t, v, "local/"); !slices.Equal(got, want[:2]) {
			t.Errorf("snapshot holds %q under local/, want %q", got, want[:2])
		}
	}
	if r, err := v.Get(t.Context(), "local/a"); err != nil || string(r.Value) != "1" || r.Revision != a {
		t.Errorf("Get(local/a) of the snapshot: %v, %v", r, err)
	}
	if r, err := v.Get(t.Context(), "local/new0"); !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("Get of a later key: %v, %v, want ErrNotFound", r, err)
	}
	for range v.Records(t.Context(), "") {
		break // and the snapshot is still of use
	}
	contents(t, v, "")
	mustCloseSnapshot(t, v)
	wantAbsent(t, s, "local/a")
}

func mustCloseSnapshot(t *testing.T, v meta.Snapshot) {
	t.Helper()
	for range 2 {
		if err := v.Close(); err != nil {
			t.Errorf("Close of a snapshot: %v", err)
		}
	}
	wantClosed(t, v)
}

func wantClosed(t *testing.T, v meta.Snapshot) {
	t.Helper()
	if _, err := v.Get(t.Context(), "local/a"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Get of a closed snapshot: %v, want net.ErrClosed", err)
	}
	var last error
	for _, err := range v.Records(t.Context(), "") {
		last = err
	}
	if !errors.Is(last, net.ErrClosed) {
		t.Errorf("Records of a closed snapshot: %v, want net.ErrClosed", last)
	}
}

// testSnapshotsUnderLoad opens snapshots while writers replace everything over
// and over: each shows whole batches, the same each time it is read, however
// much was written since.
func testSnapshotsUnderLoad(t *testing.T, s meta.Store) {
	const keys, rounds = 20, 300
	write := func(n int) {
		var ops []meta.Op
		for k := range keys {
			ops = append(ops, put(fmt.Sprintf("local/%02d", k), strings.Repeat("x", 2000)+fmt.Sprint(n)))
		}
		if _, err := s.Apply(t.Context(), ops...); err != nil {
			t.Error(err)
		}
	}
	write(0)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for n := range rounds / 2 {
				write(n)
			}
		})
	}
	var open []meta.Snapshot
	var first [][]string
	for range 10 {
		v := mustSnapshot(t, s)
		open, first = append(open, v), append(first, contents(t, v, "local/"))
	}
	wg.Wait()
	for i, v := range open {
		again := contents(t, v, "local/")
		if !slices.Equal(again, first[i]) || len(again) != keys {
			t.Errorf("snapshot %d has changed", i)
		}
		for _, line := range again {
			_, value, _ := strings.Cut(line, "=")
			_, of, _ := strings.Cut(first[i][0], "=")
			if value != of {
				t.Errorf("snapshot %d tore a batch: %.60q and %.60q", i, value, of)
			}
		}
		mustCloseSnapshot(t, v)
	}
}

func testSnapshotClosedStore(t *testing.T, s meta.Store) {
	mustApply(t, s, put("local/a", "1"))
	v := mustSnapshot(t, s)
	mustClose(t, s)
	wantClosed(t, v)
	if err := v.Close(); err != nil {
		t.Errorf("Close of a snapshot after its store: %v", err)
	}
	if _, err := s.Snapshot(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Snapshot of a closed store: %v, want net.ErrClosed", err)
	}
}

// testBackup backs up, goes on, and restores over what it removed.
func testBackup(t *testing.T, s meta.Store) {
	big := strings.Repeat("b", meta.MaxValue)
	mustApply(t, s, put("local/a", "1"), put("local/b", ""), put("\xff", "odd"), put("local/big", big))
	if err := meta.MarkSynced(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	v := mustSnapshot(t, s)
	var backup bytes.Buffer
	if err := meta.Backup(t.Context(), v, &backup); err != nil {
		t.Fatal(err)
	}
	mustCloseSnapshot(t, v)
	last := mustApply(t, s, del("local/a"), del("local/b"), del("\xff"), del("local/big"), del(meta.SyncedKey))
	if err := meta.Restore(t.Context(), s, bytes.NewReader(backup.Bytes())); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, s, "", "local/a", "local/b", "local/big", "\xff")
	if r, err := s.Get(t.Context(), "local/big"); err != nil || string(r.Value) != big || r.Revision <= last {
		t.Errorf("restored %d bytes at %d, %v", len(r.Value), r.Revision, err)
	}
	if synced, err := meta.Synced(t.Context(), s); synced || err != nil {
		t.Errorf("a restored store is said to be synced: %t, %v", synced, err)
	}
	if err := meta.Restore(t.Context(), s, bytes.NewReader(backup.Bytes())); !errors.Is(err, meta.ErrConflict) {
		t.Errorf("Restore over existing keys: %v, want ErrConflict", err)
	}
}
