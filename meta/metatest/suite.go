package metatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/meta"
)

// Run holds the stores that open makes to the contract of meta.Store. open is
// called for each subtest, gives a store that nobody else uses, and fails the
// test by t if it cannot. The suite closes the store.
func Run(t *testing.T, open func(t *testing.T) meta.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s meta.Store)
	}{
		{"empty", testEmpty},
		{"put, get, delete", testPutGetDelete},
		{"values are copied", testCopies},
		{"list order and prefix", testList},
		{"odd keys", testOddKeys},
		{"one batch", testBatch},
		{"same key twice in a batch", testSameKeyTwice},
		{"conditions", testConditions},
		{"racing conditions", testRacingConditions},
		{"limits", testLimits},
		{"large batch", testLargeBatch},
		{"cancelled context", testCancelled},
		{"list is one revision", testListConsistent},
		{"watch", testWatch},
		{"watch of several prefixes", testWatchPrefixes},
		{"watch from a revision", testWatchFrom},
		{"watch sees what list did not", testListThenWatch},
		{"watch under load", testWatchUnderLoad},
		{"watch refuses unknown revisions", testWatchUnknown},
		{"slow watcher is ended", testSlowWatcher},
		{"watch ends with its context", testWatchCancelled},
		{"snapshot", testSnapshot},
		{"snapshots under load", testSnapshotsUnderLoad},
		{"snapshot of a closed store", testSnapshotClosedStore},
		{"backup and restore", testBackup},
		{"synced once", testSynced},
		{"close", testClose},
		{"close under load", testCloseUnderLoad},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			c.test(t, s)
		})
	}
}

func testEmpty(t *testing.T, s meta.Store) {
	if _, err := s.Get(t.Context(), "local/x"); !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("Get of an absent key: %v, want ErrNotFound", err)
	}
	list, revision, err := s.List(t.Context(), "")
	if err != nil || len(list) != 0 {
		t.Errorf("List: %v, %v", list, err)
	}
	if keys, at, err := s.Keys(t.Context(), ""); err != nil || len(keys) != 0 || at != revision {
		t.Errorf("Keys: %v at %d, %v", keys, at, err)
	}
	if now := mustApply(t, s); now != revision {
		t.Errorf("Apply of nothing is at revision %d, List at %d", now, revision)
	}
}

func testPutGetDelete(t *testing.T, s meta.Store) {
	first := mustApply(t, s, put("local/a", "1"))
	second := mustApply(t, s, put("local/b", ""), put("local/c", "3"))
	if second <= first {
		t.Errorf("revisions %d, %d do not grow", first, second)
	}
	wantRecord(t, s, "local/a", "1", first)
	wantRecord(t, s, "local/b", "", second)
	third := mustApply(t, s, put("local/a", "2"), del("local/b"), del("local/absent"))
	wantRecord(t, s, "local/a", "2", third)
	wantRecord(t, s, "local/c", "3", second)
	wantAbsent(t, s, "local/b")
	wantKeys(t, s, "", "local/a", "local/c")
}

func testCopies(t *testing.T, s meta.Store) {
	changes := mustWatch(t, s, "", mustApply(t, s))
	value := []byte("value")
	at := mustApply(t, s, meta.Op{Key: "local/a", Value: value})
	copy(value, "XXXXX")
	wantRecord(t, s, "local/a", "value", at)
	r, err := s.Get(t.Context(), "local/a")
	if err != nil {
		t.Fatal(err)
	}
	copy(r.Value, "YYYYY")
	e := next(t, changes)
	if string(e[0].Value) != "value" {
		t.Errorf("the watcher got %q", e[0].Value)
	}
	copy(e[0].Value, "ZZZZZ")
	wantRecord(t, s, "local/a", "value", at)
}

func testList(t *testing.T, s meta.Store) {
	mustApply(t, s, put("up/b/2", "x"), put("down/a/1", "x"), put("up/b/10", "x"), put("up/a/1", "x"), put("up", "x"), put("up0", "x"))
	wantKeys(t, s, "up/", "up/a/1", "up/b/10", "up/b/2")
	wantKeys(t, s, "up/b/", "up/b/10", "up/b/2")
	wantKeys(t, s, "up/b/2", "up/b/2")
	wantKeys(t, s, "zzz")
	wantKeys(t, s, "", "down/a/1", "up", "up/a/1", "up/b/10", "up/b/2", "up0")
}

func testOddKeys(t *testing.T, s meta.Store) {
	odd := []string{"\x00", "\x00\xff", " ", "!badger!x", "local/ä/日本", "local/%00", "local/a\x00", "local/a\x00b", "\xff", "\xff\xff", strings.Repeat("k", meta.MaxKey)}
	for i, key := range odd {
		mustApply(t, s, put(key, fmt.Sprint(i)))
	}
	for i, key := range odd {
		if r, err := s.Get(t.Context(), key); err != nil || r.Key != key || string(r.Value) != fmt.Sprint(i) {
			t.Errorf("Get(%q) = %q, %q, %v", key, r.Key, r.Value, err)
		}
	}
	slices.Sort(odd)
	wantKeys(t, s, "", odd...)
	for _, key := range odd {
		mustApply(t, s, del(key))
	}
	wantKeys(t, s, "")
}

func testBatch(t *testing.T, s meta.Store) {
	changes := mustWatch(t, s, "", mustApply(t, s))
	var ops []meta.Op
	for i := range 100 {
		ops = append(ops, put(fmt.Sprintf("local/%03d", i), "x"))
	}
	at := mustApply(t, s, ops...)
	events := collect(t, changes, 100)
	for i, e := range events {
		if e.Revision != at || e.Key != ops[i].Key {
			t.Errorf("event %d is %s at %d, want %s at %d", i, e.Key, e.Revision, ops[i].Key, at)
		}
	}
	wantRecord(t, s, "local/042", "x", at)
}

func testSameKeyTwice(t *testing.T, s meta.Store) {
	changes := mustWatch(t, s, "", mustApply(t, s))
	at := mustApply(t, s, put("local/a", "1"), del("local/a"), put("local/a", "2"), put("local/b", "1"), del("local/b"))
	wantRecord(t, s, "local/a", "2", at)
	wantAbsent(t, s, "local/b")
	var got []string
	for _, e := range collect(t, changes, 5) {
		got = append(got, fmt.Sprint(e.Key, e.Deleted, string(e.Value)))
	}
	if want := []string{"local/afalse1", "local/atrue1", "local/afalse2", "local/bfalse1", "local/btrue1"}; !slices.Equal(got, want) {
		t.Errorf("watcher saw %q, want %q", got, want)
	}
}

func testConditions(t *testing.T, s meta.Store) {
	at := mustApply(t, s, meta.Op{Key: "local/a", Value: []byte("1"), If: new(uint64)})
	for _, bad := range [][]meta.Op{
		{{Key: "local/a", Value: []byte("2"), If: new(uint64)}},
		{{Key: "local/a", Delete: true, If: revision(at + 1)}},
		{{Key: "local/new", Value: []byte("2"), If: revision(at)}},
		{put("local/other", "2"), {Key: "local/a", Delete: true, If: new(uint64)}},
	} {
		if _, err := s.Apply(t.Context(), bad...); !errors.Is(err, meta.ErrConflict) {
			t.Errorf("Apply(%v): %v, want ErrConflict", bad, err)
		}
	}
	wantKeys(t, s, "", "local/a")
	wantRecord(t, s, "local/a", "1", at)
	at = mustApply(t, s, meta.Op{Key: "local/a", Value: []byte("2"), If: revision(at)})
	mustApply(t, s, meta.Op{Key: "local/a", Delete: true, If: revision(at)})
	mustApply(t, s, meta.Op{Key: "local/a", Value: []byte("3"), If: new(uint64)})
}

func testLimits(t *testing.T, s meta.Store) {
	before := mustApply(t, s)
	big := make([]byte, meta.MaxValue)
	for name, ops := range map[string][]meta.Op{
		"value": {put("local/ok", "x"), {Key: "local/a", Value: make([]byte, meta.MaxValue+1)}},
		"key":   {put("local/ok", "x"), {Key: strings.Repeat("k", meta.MaxKey+1)}},
		"batch": {{Key: "local/a", Value: big}, {Key: "local/b", Value: big}, {Key: "local/c", Value: []byte("x")}},
	} {
		if _, err := s.Apply(t.Context(), ops...); !errors.Is(err, meta.ErrTooLarge) {
			t.Errorf("%s over the limit: %v, want ErrTooLarge", name, err)
		}
	}
	if _, err := s.Apply(t.Context(), put("local/ok", "x"), put("", "x")); err == nil {
		t.Error("an empty key was taken")
	}
	wantKeys(t, s, "")
	if now := mustApply(t, s); now != before {
		t.Errorf("refused batches moved the revision from %d to %d", before, now)
	}
}

// testLargeBatch stores a value of the largest size among many others, replaces
// it by smaller ones and by larger ones, and removes it.
func testLargeBatch(t *testing.T, s meta.Store) {
	at := mustApply(t, s)
	changes := mustWatch(t, s, "local/big", at)
	for i, size := range []int{meta.MaxValue, 10, 700 << 10, meta.MaxValue - 1, 300 << 10} {
		big := bytes.Repeat([]byte{byte('a' + i)}, size)
		ops := []meta.Op{{Key: "local/big", Value: big}}
		for n := range 1000 {
			ops = append(ops, put(fmt.Sprintf("local/small/%d", n), strings.Repeat("s", 1000)+fmt.Sprint(i)))
		}
		at = mustApply(t, s, ops...)
		wantRecord(t, s, "local/big", string(big), at)
		wantRecord(t, s, "local/small/999", strings.Repeat("s", 1000)+fmt.Sprint(i), at)
		if e := collect(t, changes, 1)[0]; !bytes.Equal(e.Value, big) {
			t.Errorf("watcher got %d bytes, want %d", len(e.Value), size)
		}
	}
	if list, _, err := s.List(t.Context(), "local/"); err != nil || len(list) != 1001 || len(list[0].Value) != 300<<10 {
		t.Errorf("List: %d records, %v", len(list), err)
	}
	mustApply(t, s, del("local/big"))
	wantAbsent(t, s, "local/big")
	if list, _, err := s.List(t.Context(), ""); err != nil || len(list) != 1000 {
		t.Errorf("List after the removal: %d records, %v", len(list), err)
	}
	if keys, _, err := s.Keys(t.Context(), ""); err != nil || len(keys) != 1000 {
		t.Errorf("Keys after the removal: %d keys, %v", len(keys), err)
	}
}

func testCancelled(t *testing.T, s meta.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, errApply := s.Apply(ctx, put("local/a", "1"))
	_, errGet := s.Get(ctx, "local/a")
	_, _, errList := s.List(ctx, "")
	_, _, errKeys := s.Keys(ctx, "")
	_, errWatch := s.Watch(ctx, "", 0)
	for name, err := range map[string]error{"Apply": errApply, "Get": errGet, "List": errList, "Keys": errKeys, "Watch": errWatch} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v", name, err)
		}
	}
	wantAbsent(t, s, "local/a")
}

func testClose(t *testing.T, s meta.Store) {
	mustApply(t, s, put("local/a", "1"))
	changes := mustWatch(t, s, "", mustApply(t, s))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if e, open := receive(t, changes); open {
		t.Errorf("a closed store sent %v", e)
	}
	_, errApply := s.Apply(t.Context(), put("local/b", "1"))
	_, errGet := s.Get(t.Context(), "local/a")
	_, _, errList := s.List(t.Context(), "")
	_, _, errKeys := s.Keys(t.Context(), "")
	_, errWatch := s.Watch(t.Context(), "", 0)
	for name, err := range map[string]error{"Apply": errApply, "Get": errGet, "List": errList, "Keys": errKeys, "Watch": errWatch} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v, want net.ErrClosed", name, err)
		}
	}
}

func testSynced(t *testing.T, s meta.Store) {
	if synced, err := meta.Synced(t.Context(), s); synced || err != nil {
		t.Errorf("a new store is said to be synced: %t, %v", synced, err)
	}
	var at [2]uint64
	for i := range at {
		if err := meta.MarkSynced(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		at[i] = mustApply(t, s)
	}
	if synced, err := meta.Synced(t.Context(), s); !synced || err != nil || at[0] != at[1] {
		t.Errorf("marked twice: synced %t, %v, revisions %v", synced, err, at)
	}
}
