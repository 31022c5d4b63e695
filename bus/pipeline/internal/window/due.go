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
	if len(s.due) == 0 || s.due[0].due == never {
		return 0, false
	}
	return s.due[0].due, true
}

// Advance ends the windows that are due, and forgets keys without windows for which nothing
// can be late any more.
func (s *Set) Advance(now int64) {
	for len(s.due) > 0 && s.due[0].due <= now {
		s.settle(now, s.due[0])
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
	due := s.forgetAt(k)
	if len(k.open) > 0 {
		due = s.dueOf(k)
	}
	s.due.set(k, due)
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

func (h *dueHeap) set(k *keyState, due int64) {
	switch {
	case k.heap < 0:
		k.due = due
		heap.Push(h, k)
	case k.due != due:
		k.due = due
		heap.Fix(h, k.heap)
	}
}

func (h *dueHeap) remove(k *keyState) {
	if k.heap >= 0 {
		heap.Remove(h, k.heap)
	}
}

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
	k.heap = -1
	return k
}
