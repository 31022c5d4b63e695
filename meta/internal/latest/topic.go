package latest

import (
	"context"
	"sync"
)

// Topic is one such value. The zero Topic is ready and has no value yet. Its
// methods may be called by several goroutines at once.
type Topic[T any] struct {
	mu    sync.Mutex
	value T
	set   bool
	subs  map[chan T]struct{}
}

// Publish makes v the newest value.
func (t *Topic[T]) Publish(v T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value, t.set = v, true
	for c := range t.subs {
		// Only a publisher sends, and it holds mu: after the drain there is room.
		select {
		case <-c:
		default:
		}
		c <- v
	}
}

// Value returns the newest value, and whether there is one.
func (t *Topic[T]) Value() (T, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.value, t.set
}

// Subscribe returns a channel with the newest value, if there is one, and then
// every newer one that is read in time. It is closed when ctx ends.
func (t *Topic[T]) Subscribe(ctx context.Context) <-chan T {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := make(chan T, 1)
	if t.set {
		c <- t.value
	}
	if t.subs == nil {
		t.subs = make(map[chan T]struct{})
	}
	t.subs[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.subs, c)
		close(c)
	})
	return c
}
