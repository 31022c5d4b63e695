package backlog

import (
	"sync/atomic"
	"time"
)

// Patience is how long a connection counts in an Entry at most. Peers that begin
// and never go on would otherwise keep all others out; so they only slow them.
const Patience = 3 * time.Second

// Entry bounds how many connections are under way from their first packet to the
// Accept that takes them. A herd that is let in as a whole shares the CPU until
// none gets through before its peer has given up, and what was done for it was in
// vain; before an Entry it waits where that costs nothing. All methods may be
// called by several goroutines at once.
type Entry struct {
	places chan struct{}
	left   func()
}

// NewEntry makes an Entry with so many places. left, unless nil, is called each
// time that a place has become free.
func NewEntry(places int, left func()) *Entry {
	return &Entry{make(chan struct{}, places), left}
}

// Enter waits for a place, or until done is closed, and then gives nil.
func (e *Entry) Enter(done <-chan struct{}) *Pass {
	select {
	case e.places <- struct{}{}:
		return e.pass()
	case <-done:
		return nil
	}
}

// TryEnter takes a place if one is free, and otherwise gives nil.
func (e *Entry) TryEnter() *Pass {
	select {
	case e.places <- struct{}{}:
		return e.pass()
	default:
		return nil
	}
}

func (e *Entry) pass() *Pass {
	p := &Pass{entry: e}
	p.timer.Store(time.AfterFunc(Patience, p.Leave))
	return p
}

// Taken is how many places are taken.
func (e *Entry) Taken() int { return len(e.places) }

// Pass is a place that is taken.
type Pass struct {
	entry *Entry
	gone  atomic.Bool
	timer atomic.Pointer[time.Timer]
}

// Leave gives the place to the next one. Twice is no error.
func (p *Pass) Leave() {
	if p.gone.Swap(true) {
		return
	}
	<-p.entry.places
	if t := p.timer.Swap(nil); t != nil {
		t.Stop()
	}
	if p.entry.left != nil {
		p.entry.left()
	}
}

// Gone tells whether the place has been given back.
func (p *Pass) Gone() bool { return p.gone.Load() }
