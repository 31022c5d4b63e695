package metatest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
)

// patience is how long the suite waits for something that must happen.
const patience = time.Minute

func put(key, value string) meta.Op { return meta.Op{Key: key, Value: []byte(value)} }

func del(key string) meta.Op { return meta.Op{Key: key, Delete: true} }

func revision(r uint64) *uint64 { return &r }

func record(key, value string, revision uint64) meta.Record {
	return meta.Record{Key: key, Value: []byte(value), Revision: revision}
}

func mustApply(t *testing.T, s meta.Store, ops ...meta.Op) uint64 {
	t.Helper()
	at, err := s.Apply(t.Context(), ops...)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return at
}

func mustWatch(t *testing.T, s meta.Store, prefix string, after uint64) <-chan []meta.Event {
	t.Helper()
	changes, err := s.Watch(t.Context(), prefix, after)
	if err != nil {
		t.Fatalf("Watch: %v", err)
	}
	return changes
}

// receive waits for the next slice of a watch; it reports false when the watch
// has ended.
func receive(t *testing.T, changes <-chan []meta.Event) ([]meta.Event, bool) {
	select {
	case events, open := <-changes:
		if open && len(events) == 0 {
			t.Error("a watch sent an empty slice")
		}
		return events, open
	case <-time.After(patience):
		t.Error("nothing came from a watch")
		return nil, false
	}
}

func next(t *testing.T, changes <-chan []meta.Event) []meta.Event {
	t.Helper()
	events, open := receive(t, changes)
	if !open {
		t.Fatal("watch ended")
	}
	return events
}

// collect reads n events or more, and fails the test on more than n.
func collect(t *testing.T, changes <-chan []meta.Event, n int) []meta.Event {
	t.Helper()
	var all []meta.Event
	for len(all) < n {
		all = append(all, next(t, changes)...)
	}
	return all
}

func wantEvents(t *testing.T, got []meta.Event, want ...meta.Event) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("event %d is missing: %v", i, want[i])
		case i >= len(want):
			return
		case got[i].Key != want[i].Key || string(got[i].Value) != string(want[i].Value) ||
			got[i].Revision != want[i].Revision || got[i].Deleted != want[i].Deleted:
			t.Errorf("event %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func wantRecord(t *testing.T, s meta.Store, key, value string, revision uint64) {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil || r.Key != key || string(r.Value) != value || r.Revision != revision {
		t.Errorf("Get(%s) = %.40q (%d bytes) at %d, %v; want %.40q (%d bytes) at %d", key, r.Value, len(r.Value), r.Revision, err, value, len(value), revision)
	}
}

func wantAbsent(t *testing.T, s meta.Store, key string) {
	t.Helper()
	if r, err := s.Get(t.Context(), key); !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("Get(%s) = %v, %v, want ErrNotFound", key, r, err)
	}
}

func wantKeys(t *testing.T, s meta.Store, prefix string, want ...string) {
	t.Helper()
	list, at, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("List(%s): %v", prefix, err)
	}
	var got []string
	for _, r := range list {
		got = append(got, r.Key)
		if r.Revision > at {
			t.Errorf("List(%s) at %d has %s at %d", prefix, at, r.Key, r.Revision)
		}
	}
	entries, atKeys, err := s.Keys(t.Context(), prefix)
	if err != nil || atKeys < at {
		t.Fatalf("Keys(%s) at %d after List at %d, %v", prefix, atKeys, at, err)
	}
	same := func(e meta.Entry, r meta.Record) bool { return e.Key == r.Key && e.Revision == r.Revision }
	if atKeys == at && !slices.EqualFunc(entries, list, same) {
		t.Errorf("Keys(%s) has %v, List has %q", prefix, entries, got)
	}
	if !slices.Equal(got, want) {
		t.Errorf("List(%s) = %q, want %q", prefix, got, want)
	}
}
