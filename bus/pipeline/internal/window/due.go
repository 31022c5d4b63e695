package window

import (
	"container/heap"
	"math"
	"time"
)

// never is a due that does not come.
const never = math.MaxInt64

// Next is when Advance has something to do, by the node's clock.
func (s *Set) Next() (int64, bool) {
	next := int64(never)
	for _, h := range []dueHeap{s.due, s.idle} {
		if len(h) > 0 {
			next = min(next, h[0].due)
		}
	}
	return next, next != never
}

// Advance ends the windows that are due, and forgets keys without windows for which nothing
// can be late any more.
func (s *Set) Advance(now int64) {
	for _, h := range []*dueHeap{&s.due, &s.idle} {
		for len(*h) > 0 && (*h)[0].due <= now {
			s.settle(now, (*h)[0])
		}
	}
}

// settle ends the windows of a key that are due and enters when the next is.
func (s *Set) settle(now int64, k *keyState) {
	for len(k.open) > 0 && s.dueOf(k) <= now {
		s.end(k, 0)
	}
	if len(k.open) == 0 && s.forgetAt(k) <= now {
		s.drop(k)
		return
	}
	s.schedule(k)
}

// schedule enters when a key's first window ends, or when it is forgotten.
func (s *Set) schedule(k *keyState) {
	h, due := &s.idle, s.forgetAt(k)
	if len(k.open) > 0 {
		h, due = &s.due, s.dueOf(k)
	}
	if k.in == h {
		if k.due != due {
			k.due = due
			heap.Fix(h, k.heap)
		}
		return
	}
	s.unschedule(k)
	k.in, k.due = h, due
	heap.Push(h, k)
}

func (s *Set) unschedule(k *keyState) {
	if k.in != nil {
		heap.Remove(k.in, k.heap)
		k.in = nil
	}
}

// dueOf is when the first open window of a key ends, by the node's clock.
func (s *Set) dueOf(k *keyState) int64 {
	w := k.open[0]
	switch s.spec.Kind {
	case Count:
		return never
	case State:
		return w.due
	case Session:
		return k.seen + (w.end + s.spec.Gap + s.spec.Lateness - k.max)
	}
	return k.seen + (w.end + s.spec.Lateness - k.max)
}

// forgetAt is when a key without windows is forgotten.
func (s *Set) forgetAt(k *keyState) int64 {
	if s.spec.Kind == Count || s.spec.Kind == State {
		return math.MinInt64
	}
	return k.seen + max(int64(time.Hour), 4*(s.spec.Size+s.spec.Gap+s.spec.Lateness))
}

// dueHeap has the keys, the first due first.
type dueHeap []*keyState

func (h dueHeap) Len() int { return len(h) }

func (h dueHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].key < h[j].key
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heap, h[j].heap = i, j
}

// Push adds a *keyState; container/heap calls it.
func (h *dueHeap) Push(x any) {
	k := x.(*keyState)
	k.heap = len(*h)
	*h = append(*h, k)
}

// Pop removes the last; container/heap calls it.
func (h *dueHeap) Pop() any {
	old := *h
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return k
}
