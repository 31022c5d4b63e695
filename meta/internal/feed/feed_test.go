package feed_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func event(revision uint64, key string) []meta.Event {
	return []meta.Event{{Record: meta.Record{Key: key, Value: []byte("value"), Revision: revision}}}
}

func TestRingForgetsTheOldest(t *testing.T) {
	f := feed.New(feed.Limits{Events: 3}, 10, 10)
	defer f.Close()
	for r := uint64(11); r <= 15; r++ {
		f.Publish(r, event(r, fmt.Sprint(r)))
	}
	for after, want := range map[uint64]error{9: meta.ErrCompacted, 10: meta.ErrCompacted, 11: meta.ErrCompacted, 12: nil, 15: nil, 16: meta.ErrCompacted} {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := f.Watch(ctx, after, ""); !errors.Is(err, want) {
			t.Errorf("Watch after %d: %v, want %v", after, err, want)
		}
		cancel()
	}
}

// TestSlowReader: one watcher reads and one does not. The first sees everything, the
// second is ended where it misses the first event.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := feed.New(feed.Limits{Events: 4}, 0, 0)
		defer f.Close()
		slow, err := f.Watch(t.Context(), 0, "")
		if err != nil {
			t.Fatal(err)
		}
		fast, err := f.Watch(t.Context(), 0, "")
		if err != nil {
			t.Fatal(err)
		}
		for r := uint64(1); r <= 100; r++ {
			f.Publish(r, event(r, "k"))
			if events := <-fast; len(events) != 1 || events[0].Revision != r {
				t.Fatalf("fast watcher got %v at %d", events, r)
			}
			synctest.Wait()
		}
		var last uint64
		for events := range slow {
			for _, e := range events {
				if e.Revision != last+1 {
					t.Errorf("slow watcher got %d after %d", e.Revision, last)
				}
				last = e.Revision
			}
		}
		if last == 0 || last == 100 {
			t.Errorf("slow watcher was ended after %d", last)
		}
	})
}

func TestLargeBatchIsKept(t *testing.T) {
	f := feed.New(feed.Limits{Events: 2, Bytes: 10}, 0, 0)
	defer f.Close()
	var many []meta.Event
	for i := range 50 {
		many = append(many, event(1, fmt.Sprint("a/", i))...)
	}
	f.Publish(1, many)
	changes, err := f.Watch(t.Context(), 0, "a/")
	if err != nil {
		t.Fatal(err)
	}
	if events := <-changes; len(events) != 50 {
		t.Errorf("%d events, want 50", len(events))
	}
}

func TestClosed(t *testing.T) {
	f := feed.New(feed.Limits{}, 0, 0)
	f.Close()
	f.Close()
	if _, err := f.Watch(t.Context(), 0, ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Watch: %v", err)
	}
}
