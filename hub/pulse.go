package hub

import (
	"container/heap"
	"sync"
	"time"
)

// Pulse keeps the time of many links' keepalives by one timer of Go's. The
// runtime looks through all of its timers whenever one that was moved forward is
// due, which with QUIC is some dozen times a second, so that a timer more for each
// of 100,000 links would cost half a core.
//
// A Server has one. A Client has its own unless a program with many of them gives
// them one. The zero value is ready; all methods may be called by several
// goroutines at once.
type Pulse struct {
	mu    sync.Mutex
	since time.Time // what due is counted from
	beats beats
	timer *time.Timer
}

// beat is what a link has in a Pulse.
type beat struct {
	tick  func()        // called when due, and perhaps once more after set or stop: see pending
	due   time.Duration // since Pulse.since
	place int           // in Pulse.beats, counted from 1; 0 means not at all
}

// set has b's tick called once, after d, and no more when it was to be before.
func (p *Pulse) set(b *beat, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil {
		p.since = time.Now()
		p.timer = time.AfterFunc(d, p.fire)
	}
	b.due = time.Since(p.since) + d
	if b.place == 0 {
		heap.Push(&p.beats, b)
	} else {
		heap.Fix(&p.beats, b.place-1)
	}
	if b.place == 1 {
		p.timer.Reset(d)
	}
}

// stop undoes set.
func (p *Pulse) stop(b *beat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.place != 0 {
		heap.Remove(&p.beats, b.place-1)
	}
}

// pending tells whether b's tick is still to be called: one that is called
// nevertheless was due before the last set.
func (p *Pulse) pending(b *beat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return b.place != 0
}

// fire calls all that are due, and sets the timer for the next one.
func (p *Pulse) fire() {
	for _, b := range p.due() {
		b.tick()
	}
}

func (p *Pulse) due() (due []*beat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.since)
	for len(p.beats) > 0 {
		if wait := p.beats[0].due - now; wait > 0 {
			p.timer.Reset(wait)
			break
		}
		due = append(due, heap.Pop(&p.beats).(*beat))
	}
	return due
}

// beats is a heap, the next one first.
type beats []*beat

func (b beats) Len() int           { return len(b) }
func (b beats) Less(i, j int) bool { return b[i].due < b[j].due }

func (b beats) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].place, b[j].place = i+1, j+1
}

// Push is heap.Interface's.
func (b *beats) Push(x any) {
	one := x.(*beat)
	*b = append(*b, one)
	one.place = len(*b)
}

// Pop is heap.Interface's.
func (b *beats) Pop() any {
	last := len(*b) - 1
	one := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	one.place = 0
	return one
}
