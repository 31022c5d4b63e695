package feed

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/meta"
)

// Limits bounds the memory of a Feed. The newest batch is always kept.
type Limits struct {
	Events int // most events kept; 0 means 4096
	Bytes  int // most bytes of keys and values kept; 0 means 1 MiB
}

// Feed remembers recent batches and serves watchers from them. Its methods may
// be called by several goroutines at once.
type Feed struct {
	limits Limits

	mu       sync.Mutex
	batches  []batch // oldest first, by revision
	events   int
	bytes    int
	floor    uint64        // changes after this revision are all in batches
	revision uint64        // of the newest batch
	changed  chan struct{} // closed and replaced at each Publish
	done     chan struct{} // closed by Close
	closed   bool
	watching int    // watchers under way
	lagged   uint64 // watchers that were ended since the ring moved past them
	watchers sync.WaitGroup
}

type batch struct {
	revision uint64
	events   []meta.Event
	bytes    int
}

// New makes a Feed for a store whose newest revision is revision. It can serve the changes after
// floor. A store that was just opened passes its revision twice; one that never held anything may pass
// 0 as floor.
func New(limits Limits, floor, revision uint64) *Feed {
	if limits.Events == 0 {
		limits.Events = 4096
	}
	if limits.Bytes == 0 {
		limits.Bytes = 1 << 20
	}
	return &Feed{limits: limits, floor: floor, revision: revision, changed: make(chan struct{}), done: make(chan struct{})}
}

// Publish adds the events of one batch. Revisions must grow from call to call.
// The feed keeps the events' values and never changes them.
func (f *Feed) Publish(revision uint64, events []meta.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := batch{revision: revision, events: events}
	for _, e := range events {
		b.bytes += len(e.Key) + len(e.Value)
	}
	f.batches, f.revision = append(f.batches, b), revision
	f.events, f.bytes = f.events+len(events), f.bytes+b.bytes
	f.trimLocked()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Watch serves the changes of keys with one of the prefixes after a revision, by the
// rules of meta.Store. It fails with meta.ErrCompacted when some of them are
// forgotten, or when the revision is not known here yet.
func (f *Feed) Watch(ctx context.Context, after uint64, prefixes ...string) (<-chan []meta.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, fmt.Errorf("meta: store is closed: %w", net.ErrClosed)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case after < f.floor:
		return nil, fmt.Errorf("%w: revision %d, the oldest known is %d", meta.ErrCompacted, after, f.floor)
	case after > f.revision:
		return nil, fmt.Errorf("%w: revision %d is not of this store, which is at %d", meta.ErrCompacted, after, f.revision)
	}
	out := make(chan []meta.Event)
	f.watching++
	f.watchers.Go(func() {
		defer close(out)
		defer f.left()
		f.serve(ctx, prefixes, after, out)
	})
	return out, nil
}

func (f *Feed) left() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watching--
}

// Stats fills in the metrics that the feed knows.
func (f *Feed) Stats(s *meta.Stats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Watchers, s.Lagged = f.watching, f.lagged
}

// Close ends all watchers and waits for them. Twice is harmless.
func (f *Feed) Close() {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.done)
	}
	f.mu.Unlock()
	f.watchers.Wait()
}

// serve is one watcher. It holds no events of its own: it follows the ring by
// revision, and a reader so slow that the ring has moved past it is ended.
func (f *Feed) serve(ctx context.Context, prefixes []string, after uint64, out chan<- []meta.Event) {
	for {
		events, next, changed, ok := f.since(prefixes, after)
		if !ok {
			return
		}
		after = next
		if len(events) == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-f.done:
				return
			}
			continue
		}
		select {
		case out <- events:
		case <-ctx.Done():
			return
		case <-f.done:
			return
		}
	}
}

// since copies the events after a revision and returns the revision up to which they are complete. It
// reports false when some of them were dropped.
func (f *Feed) since(prefixes []string, after uint64) (events []meta.Event, next uint64, changed <-chan struct{}, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after < f.floor {
		f.lagged++
		return nil, 0, nil, false
	}
	first := len(f.batches)
	for first > 0 && f.batches[first-1].revision > after {
		first--
	}
	for _, b := range f.batches[first:] {
		for _, e := range b.events {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(e.Key, p) }) {
				e.Value = append([]byte(nil), e.Value...) // the watcher owns what it gets
				events = append(events, e)
			}
		}
	}
	return events, f.revision, f.changed, true
}

// trimLocked forgets the oldest batches down to the limits; it needs mu.
func (f *Feed) trimLocked() {
	drop := 0
	for drop < len(f.batches)-1 && (f.events > f.limits.Events || f.bytes > f.limits.Bytes) {
		b := f.batches[drop]
		f.events, f.bytes = f.events-len(b.events), f.bytes-b.bytes
		f.floor = b.revision
		drop++
	}
	// Copying down keeps the array from growing and lets go of the values.
	if drop > 0 {
		n := copy(f.batches, f.batches[drop:])
		clear(f.batches[n:])
		f.batches = f.batches[:n]
	}
}
