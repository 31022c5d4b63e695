package hub

import (
	"context"
	"slices"
	"sync"
)

// turns shares places for work among nodes. A place that becomes free goes to
// the nodes that wait in turn, however much each of them has to do, so that a
// busy one delays another by one piece of work and not by all of its own. A nil
// turns has room for all.
type turns struct {
	mu   sync.Mutex
	free int
	line []*turn // nodes that wait, next first
}

// turn is one node's part in it; the zero value is ready. The turns' mu guards
// it.
type turn struct{ waiting []chan struct{} }

// take waits for a place until ctx ends.
func (t *turns) take(ctx context.Context, who *turn) error {
	if t == nil {
		return ctx.Err()
	}
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	place := make(chan struct{})
	if len(who.waiting) == 0 {
		t.line = append(t.line, who)
	}
	who.waiting = append(who.waiting, place)
	t.mu.Unlock()
	select {
	case <-place:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(who.waiting, place)
	if i >= 0 {
		who.waiting = slices.Delete(who.waiting, i, i+1)
		if len(who.waiting) == 0 {
			who.waiting = nil
			t.line = slices.DeleteFunc(t.line, func(w *turn) bool { return w == who })
		}
	}
	t.mu.Unlock()
	if i < 0 {
		t.give() // it was given meanwhile
	}
	return ctx.Err()
}

// give frees a place.
func (t *turns) give() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.line) == 0 {
		t.line = nil
		t.free++
		return
	}
	who := t.line[0]
	t.line = t.line[1:]
	close(who.waiting[0])
	if who.waiting = who.waiting[1:]; len(who.waiting) > 0 {
		t.line = append(t.line, who)
	} else {
		who.waiting = nil
	}
}
