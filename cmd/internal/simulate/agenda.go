package simulate

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// agenda calls functions at their times, from one goroutine: a timer for each of 100,000 nodes
// would cost more.
type agenda struct {
	wake chan struct{} // holds one value: there is an earlier entry

	mu      sync.Mutex
	entries entries
}

// entry is one call.
type entry struct {
	at time.Time
	do func() // returns soon
}

type entries []entry

// Len, Less, Swap, Push and Pop make it a heap.Interface.
func (e entries) Len() int           { return len(e) }
func (e entries) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e entries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *entries) Push(x any)        { *e = append(*e, x.(entry)) }
func (e *entries) Pop() any {
	last := len(*e) - 1
	out := (*e)[last]
	(*e)[last] = entry{}
	*e = (*e)[:last]
	return out
}

func newAgenda() *agenda { return &agenda{wake: make(chan struct{}, 1)} }

// after has do called after a time.
func (a *agenda) after(d time.Duration, do func()) {
	a.mu.Lock()
	heap.Push(&a.entries, entry{time.Now().Add(d), do})
	first := a.entries[0].at
	a.mu.Unlock()
	if time.Until(first) >= d-time.Millisecond {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// due removes the calls whose time has come. It also returns how long it is until the next.
func (a *agenda) due(now time.Time) (all []func(), next time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.entries) > 0 && !a.entries[0].at.After(now) {
		all = append(all, heap.Pop(&a.entries).(entry).do)
	}
	if len(a.entries) == 0 {
		return all, time.Hour
	}
	return all, a.entries[0].at.Sub(now)
}

// run makes the calls until ctx ends.
func (a *agenda) run(ctx context.Context) error {
	for {
		all, next := a.due(time.Now())
		for _, do := range all {
			do()
		}
		if len(all) > 0 {
			continue
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}
