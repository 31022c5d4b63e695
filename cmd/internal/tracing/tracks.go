package tracing

import (
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	// quiet is how long nothing may happen with an object until its trace gets no more spans.
	quiet = 15 * time.Minute
	// maxSpans is how many spans one object adds to a trace at a node.
	maxSpans = 64
)

// track is the trace that an object belongs to.
type track struct {
	parent  trace.SpanContext // of the next span
	at      time.Time         // when that ended
	version string
	touched time.Time
	spans   int
}

// tracks is a table of them with a bound: the one that was quiet for the longest makes room.
type tracks[K comparable] struct {
	most  int
	quiet time.Duration // 0 is for ever

	mu  sync.Mutex
	all map[K]track
}

func newTracks[K comparable](most int, quiet time.Duration) *tracks[K] {
	return &tracks[K]{most: most, quiet: quiet, all: make(map[K]track)}
}

// set puts an object into a trace.
func (t *tracks[K]) set(key K, parent trace.SpanContext, at time.Time, version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roomLocked(key)
	t.all[key] = track{parent: parent, at: at, version: version, touched: time.Now()}
}

// roomLocked makes room for one more.
func (t *tracks[K]) roomLocked(key K) {
	if _, there := t.all[key]; there || len(t.all) < t.most {
		return
	}
	var oldest K
	var when time.Time
	for k, at := range t.all {
		if when.IsZero() || at.touched.Before(when) {
			oldest, when = k, at.touched
		}
	}
	delete(t.all, oldest)
}

// next returns the trace of an object for one more span; false if it has none, or no more.
func (t *tracks[K]) next(key K) (track, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nextLocked(key)
}

func (t *tracks[K]) nextLocked(key K) (track, bool) {
	at, ok := t.all[key]
	if !ok {
		return track{}, false
	}
	if at.spans >= maxSpans || t.quiet > 0 && time.Since(at.touched) > t.quiet {
		delete(t.all, key)
		return track{}, false
	}
	at.spans++
	at.touched = time.Now()
	t.all[key] = at
	return at, true
}

// follow makes a span the parent of the object's next ones, if it is in that trace still.
func (t *tracks[K]) follow(key K, parent trace.SpanContext, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if was, ok := t.all[key]; ok && was.parent.TraceID() == parent.TraceID() {
		was.parent, was.at = parent, at
		t.all[key] = was
	}
}

// ended notes when the parent of the object's next spans ended, unless another span has taken its place.
func (t *tracks[K]) ended(key K, parent trace.SpanContext, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if was, ok := t.all[key]; ok && was.parent.Equal(parent) {
		was.at = at
		t.all[key] = was
	}
}

// leave takes an object out of its trace, unless its next spans have another parent.
func (t *tracks[K]) leave(key K, parent trace.SpanContext) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if was, ok := t.all[key]; ok && was.parent.Equal(parent) {
		delete(t.all, key)
	}
}

// take returns the trace of an object and forgets it.
func (t *tracks[K]) take(key K) (track, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.nextLocked(key)
	delete(t.all, key)
	return at, ok
}
