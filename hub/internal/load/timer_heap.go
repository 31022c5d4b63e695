package load

import (
	"container/heap"
	"sync"
	"time"
)

// TimerHeap runs many timers on one timer of Go's. The runtime looks through all of its
// timers whenever one that was moved forward is due, which with QUIC is some dozen
// times a second: one timer more for each of 100,000 links would cost half a core. The
// zero value is ready; all methods may be called by several goroutines at once.
type TimerHeap struct {
	mu     sync.Mutex
	since  time.Time // what due is counted from
	timers timers
	timer  *time.Timer
}

// Timer is one of the timers of a TimerHeap.
type Timer struct {
	Func  func()        // called when due; a call may come just after Set or Stop, see Pending
	due   time.Duration // since TimerHeap.since
	index int           // in TimerHeap.timers, counted from 1; 0 means not at all
}

// Set schedules one call of b's Func, after d. It replaces an earlier Set.
func (p *TimerHeap) Set(b *Timer, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil {
		p.since = time.Now()
		p.timer = time.AfterFunc(d, p.fire)
	}
	b.due = time.Since(p.since) + d
	if b.index == 0 {
		heap.Push(&p.timers, b)
	} else {
		heap.Fix(&p.timers, b.index-1)
	}
	if b.index == 1 {
		p.timer.Reset(d)
	}
}

// Stop undoes Set.
func (p *TimerHeap) Stop(b *Timer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.index != 0 {
		heap.Remove(&p.timers, b.index-1)
	}
}

// Pending reports whether b's Func is still to be called. A Func that runs while it is
// pending was due before the last Set, and should do nothing.
func (p *TimerHeap) Pending(b *Timer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return b.index != 0
}

// fire calls all that are due, and sets the timer for the next one.
func (p *TimerHeap) fire() {
	for _, b := range p.due() {
		b.Func()
	}
}

func (p *TimerHeap) due() (due []*Timer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.since)
	for len(p.timers) > 0 {
		if wait := p.timers[0].due - now; wait > 0 {
			p.timer.Reset(wait)
			break
		}
		due = append(due, heap.Pop(&p.timers).(*Timer))
	}
	return due
}

// timers is a heap, the next one first.
type timers []*Timer

func (b timers) Len() int           { return len(b) }
func (b timers) Less(i, j int) bool { return b[i].due < b[j].due }

func (b timers) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].index, b[j].index = i+1, j+1
}

// Push is heap.Interface's.
func (b *timers) Push(x any) {
	one := x.(*Timer)
	*b = append(*b, one)
	one.index = len(*b)
}

// Pop is heap.Interface's.
func (b *timers) Pop() any {
	last := len(*b) - 1
	one := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	one.index = 0
	return one
}
