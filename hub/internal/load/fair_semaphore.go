package load

import (
	"context"
	"slices"
	"sync"
)

// FairSemaphore shares places for work among nodes. Free places go round robin to the
// nodes that wait, however much work each of them has: a busy node delays another by
// one piece of work and not by all of its own. A nil FairSemaphore has no limit.
type FairSemaphore struct {
	mu    sync.Mutex
	free  int
	queue []*Waiter // nodes that wait, next first
}

// NewFairSemaphore makes one with so many places.
func NewFairSemaphore(places int) *FairSemaphore { return &FairSemaphore{free: places} }

// Waiter is one node as it waits for places; the zero value is ready. The semaphore's
// mu guards it.
type Waiter struct{ waiting []chan struct{} }

// Acquire waits for a place until ctx ends.
func (t *FairSemaphore) Acquire(ctx context.Context, who *Waiter) error {
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
		t.queue = append(t.queue, who)
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
			t.queue = slices.DeleteFunc(t.queue, func(w *Waiter) bool { return w == who })
		}
	}
	t.mu.Unlock()
	if i < 0 {
		t.Release() // the place was granted meanwhile: pass it on
	}
	return ctx.Err()
}

// Release frees a place.
func (t *FairSemaphore) Release() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.queue = nil
		t.free++
		return
	}
	who := t.queue[0]
	t.queue = t.queue[1:]
	close(who.waiting[0])
	if who.waiting = who.waiting[1:]; len(who.waiting) > 0 {
		t.queue = append(t.queue, who)
	} else {
		who.waiting = nil
	}
}
