package metatest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/meta"
)

// RunDurable holds a store that outlives its process to the rules about
// restarts. open opens the same place each time; it is called only while the
// store that it gave before is closed. place is called once for each subtest
// and gives that subtest a place of its own.
func RunDurable[P any](t *testing.T, place func(t *testing.T) P, open func(t *testing.T, at P) meta.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, open func() meta.Store)
	}{
		{"data is kept", testKept},
		{"revisions go on", testRevisionsGoOn},
		{"revisions are not reused after deletes", testRevisionsAfterDelete},
		{"watch after reopening", testWatchReopened},
		{"large values are kept", testLargeKept},
		{"close keeps what was acknowledged", testCloseKeeps},
		{"many restarts", testManyRestarts},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := place(t)
			c.test(t, func() meta.Store { return open(t, at) })
		})
	}
}

func mustClose(t *testing.T, s meta.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func testKept(t *testing.T, open func() meta.Store) {
	s := open()
	a := mustApply(t, s, put("local/a", "1"), put("local/b", "1"))
	b := mustApply(t, s, put("local/b", "2"), put("local/c", "2"))
	mustApply(t, s, del("local/c"))
	mustClose(t, s)
	for range 3 {
		s = open()
		wantRecord(t, s, "local/a", "1", a)
		wantRecord(t, s, "local/b", "2", b)
		wantKeys(t, s, "", "local/a", "local/b")
		mustClose(t, s)
	}
}

func testRevisionsGoOn(t *testing.T, open func() meta.Store) {
	var last uint64
	for range 4 {
		s := open()
		if now := mustApply(t, s); now < last {
			t.Errorf("reopened at revision %d after %d", now, last)
		}
		for range 3 {
			now := mustApply(t, s, put("local/a", "1"))
			if now <= last {
				t.Errorf("revision %d came after %d", now, last)
			}
			last = now
		}
		mustClose(t, s)
	}
}

// testRevisionsAfterDelete removes all traces of the newest revisions before
// it reopens.
func testRevisionsAfterDelete(t *testing.T, open func() meta.Store) {
	s := open()
	for i := range 50 {
		mustApply(t, s, put(fmt.Sprintf("local/%d", i), "x"))
	}
	var last uint64
	for i := range 50 {
		last = mustApply(t, s, del(fmt.Sprintf("local/%d", i)))
	}
	last = max(last, mustApply(t, s, del("local/absent")))
	mustClose(t, s)
	s = open()
	if now := mustApply(t, s, put("local/a", "1")); now <= last {
		t.Errorf("revision %d was used again, %d was reached before", now, last)
	}
	mustClose(t, s)
}

func testWatchReopened(t *testing.T, open func() meta.Store) {
	s := open()
	first := mustApply(t, s, put("local/a", "1"))
	last := mustApply(t, s, put("local/a", "2"))
	mustClose(t, s)
	s = open()
	now := mustApply(t, s)
	if _, err := s.Watch(t.Context(), "", first); err != nil && !errors.Is(err, meta.ErrCompacted) {
		t.Errorf("Watch from an old revision: %v, want its changes or ErrCompacted", err)
	}
	changes := mustWatch(t, s, "", now)
	at := mustApply(t, s, put("local/a", "3"))
	wantEvents(t, collect(t, changes, 1), meta.Event{Record: record("local/a", "3", at)})
	if now < last {
		t.Errorf("reopened at revision %d after %d", now, last)
	}
	mustClose(t, s)
}

func testLargeKept(t *testing.T, open func() meta.Store) {
	big := strings.Repeat("0123456789abcdef", meta.MaxValue/16)
	s := open()
	at := mustApply(t, s, put("local/big", big), put("local/small", "x"))
	mustClose(t, s)
	s = open()
	wantRecord(t, s, "local/big", big, at)
	mustApply(t, s, put("local/big", "x"))
	mustClose(t, s)
	s = open()
	if r, err := s.Get(t.Context(), "local/big"); err != nil || string(r.Value) != "x" {
		t.Errorf("after replacing it: %d bytes, %v", len(r.Value), err)
	}
	wantKeys(t, s, "", "local/big", "local/small")
	mustClose(t, s)
}

// testCloseKeeps closes under load and wants every acknowledged write back.
func testCloseKeeps(t *testing.T, open func() meta.Store) {
	s := open()
	const writers = 4
	var acked [writers]int
	var wg sync.WaitGroup
	started := make(chan struct{}, writers)
	for w := range writers {
		wg.Go(func() {
			for i := 1; ; i++ {
				if _, err := s.Apply(t.Context(), put(fmt.Sprintf("local/%d/%06d", w, i), "x")); err != nil {
					return
				}
				acked[w] = i
				if i == 10 {
					started <- struct{}{}
				}
			}
		})
	}
	for range writers {
		<-started
	}
	mustClose(t, s)
	wg.Wait()
	s = open()
	for w := range writers {
		list, _, err := s.List(t.Context(), fmt.Sprintf("local/%d/", w))
		if err != nil || len(list) != acked[w] {
			t.Errorf("writer %d: %d of %d acknowledged writes are there, %v", w, len(list), acked[w], err)
		}
	}
	mustClose(t, s)
}

func testManyRestarts(t *testing.T, open func() meta.Store) {
	for i := range 10 {
		s := open()
		list, _, err := s.List(t.Context(), "local/")
		if err != nil || len(list) != i {
			t.Fatalf("start %d found %d records, %v", i, len(list), err)
		}
		mustApply(t, s, put(fmt.Sprintf("local/%d", i), "x"))
		mustClose(t, s)
	}
}
