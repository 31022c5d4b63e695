package metatest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/meta"
)

func testWatch(t *testing.T, s meta.Store) {
	all := mustWatch(t, s, "", mustApply(t, s))
	some := mustWatch(t, s, "down/pods/", mustApply(t, s))
	a := mustApply(t, s, put("down/pods/x/a", "1"), put("down/secrets/x/a", "1"))
	b := mustApply(t, s, put("down/pods/x/a", "2"))
	c := mustApply(t, s, del("down/pods/x/a"), del("down/pods/x/absent"))
	wantEvents(t, collect(t, some, 3), meta.Event{Record: record("down/pods/x/a", "1", a)},
		meta.Event{Record: record("down/pods/x/a", "2", b)}, meta.Event{Record: record("down/pods/x/a", "2", c), Deleted: true})
	wantEvents(t, collect(t, all, 4), meta.Event{Record: record("down/pods/x/a", "1", a)}, meta.Event{Record: record("down/secrets/x/a", "1", a)},
		meta.Event{Record: record("down/pods/x/a", "2", b)}, meta.Event{Record: record("down/pods/x/a", "2", c), Deleted: true})
}

func testWatchPrefixes(t *testing.T, s meta.Store) {
	w, ok := s.(meta.PrefixWatcher)
	if !ok {
		t.Skip("this store watches one prefix at a time")
	}
	prefixes := []string{"down/pods/", "up/pods:status/"}
	changes, err := w.WatchPrefixes(t.Context(), prefixes, mustApply(t, s))
	if err != nil {
		t.Fatalf("WatchPrefixes: %v", err)
	}
	prefixes[0] = "local/" // the caller's again
	a := mustApply(t, s, put("down/pods/x/a", "1"), put("local/x", "1"), put("up/pods:status/x/a", "2"), put("down/podsother/x", "1"))
	mustApply(t, s, put("local/x", "2"))
	b := mustApply(t, s, put("up/pods:status/x/a", "3"))
	c := mustApply(t, s, del("down/pods/x/a"), del("local/x"))
	wantEvents(t, collect(t, changes, 4), meta.Event{Record: record("down/pods/x/a", "1", a)}, meta.Event{Record: record("up/pods:status/x/a", "2", a)},
		meta.Event{Record: record("up/pods:status/x/a", "3", b)}, meta.Event{Record: record("down/pods/x/a", "1", c), Deleted: true})
}

func testWatchFrom(t *testing.T, s meta.Store) {
	var at []uint64
	for i := range 5 {
		at = append(at, mustApply(t, s, put("local/a", fmt.Sprint(i))))
	}
	for i := range at {
		changes := mustWatch(t, s, "", at[i])
		for j := i + 1; j < len(at); j++ {
			wantEvents(t, collect(t, changes, 1), meta.Event{Record: record("local/a", fmt.Sprint(j), at[j])})
			if j == i+1 && i+2 < len(at) {
				break // the rest comes as one slice or several; testWatchUnderLoad looks at all
			}
		}
	}
}

// testListThenWatch lists while a writer is busy and follows from there: what
// the list has and what the watch sends make up every value, each once.
func testListThenWatch(t *testing.T, s meta.Store) {
	const writes = 300
	var wg sync.WaitGroup
	half := make(chan struct{})
	wg.Go(func() {
		for i := range writes {
			if i == writes/2 {
				close(half)
			}
			if _, err := s.Apply(t.Context(), put(fmt.Sprintf("local/%04d", i), "x")); err != nil {
				t.Error(err)
				return
			}
		}
	})
	<-half
	list, at, err := s.List(t.Context(), "local/")
	if err != nil {
		t.Fatal(err)
	}
	changes := mustWatch(t, s, "local/", at)
	seen := make(map[string]bool)
	for _, r := range list {
		seen[r.Key] = true
	}
	for len(seen) < writes {
		for _, e := range next(t, changes) {
			if e.Revision <= at || seen[e.Key] {
				t.Fatalf("%s at %d was already listed at %d", e.Key, e.Revision, at)
			}
			seen[e.Key] = true
		}
	}
	wg.Wait()
}

// testWatchUnderLoad has several watchers follow several writers: each sees
// all changes once, in revision order.
func testWatchUnderLoad(t *testing.T, s meta.Store) {
	const writers, each, watchers = 4, 100, 3
	start := mustApply(t, s)
	var wg sync.WaitGroup
	for range watchers {
		changes := mustWatch(t, s, "local/", start)
		wg.Go(func() {
			last, counts := start, make(map[string]int)
			for n := 0; n < writers*each; {
				events, open := receive(t, changes)
				if !open {
					t.Error("watch ended")
					return
				}
				for _, e := range events {
					if e.Revision <= last {
						t.Errorf("revision %d came after %d", e.Revision, last)
					}
					last = e.Revision
					if want := fmt.Sprint(counts[e.Key]); string(e.Value) != want {
						t.Errorf("%s: value %s, want %s", e.Key, e.Value, want)
					}
					counts[e.Key]++
					n++
				}
			}
		})
	}
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := s.Apply(t.Context(), put(fmt.Sprintf("local/%d", w), fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func testWatchUnknown(t *testing.T, s meta.Store) {
	now := mustApply(t, s, put("local/a", "1"))
	if _, err := s.Watch(t.Context(), "", now+1); !errors.Is(err, meta.ErrCompacted) {
		t.Errorf("Watch from a revision of the future: %v, want ErrCompacted", err)
	}
}

// testSlowWatcher writes far more than any store remembers: a watcher that
// does not read is ended, and its old revision is refused from then on.
func testSlowWatcher(t *testing.T, s meta.Store) {
	start := mustApply(t, s)
	changes := mustWatch(t, s, "", start)
	value := strings.Repeat("x", meta.MaxValue/2)
	var last uint64
	for range 16 {
		last = mustApply(t, s, put("local/a", value))
	}
	for open := true; open; {
		var events []meta.Event
		if events, open = receive(t, changes); open && events[len(events)-1].Revision == last {
			t.Fatal("a store remembered 32 MiB for a watcher")
		}
	}
	if _, err := s.Watch(t.Context(), "", start); !errors.Is(err, meta.ErrCompacted) {
		t.Errorf("Watch from a forgotten revision: %v, want ErrCompacted", err)
	}
}

func testWatchCancelled(t *testing.T, s meta.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	idle, err := s.Watch(ctx, "", mustApply(t, s))
	if err != nil {
		t.Fatal(err)
	}
	busy, err := s.Watch(ctx, "", mustApply(t, s))
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, put("other/a", "1"))
	<-busy
	cancel()
	for _, changes := range []<-chan []meta.Event{idle, busy} {
		for open := true; open; {
			_, open = receive(t, changes)
		}
	}
}
