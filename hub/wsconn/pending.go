package wsconn

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/hub/internal/load"
)

// silentOf is which part of the pending connections may be silent, and closeOf
// which part is closed at once when they are too many: to look through all of them
// for each new one would cost too much.
const (
	silentOf = 4
	closeOf  = 16
)

// pending are the TCP connections that are no links, or not yet. They have cost
// their peers nothing, so that their number is bounded. When they are too many, the
// oldest of the network that has the most are closed: a network that opens many
// pays for them itself. All methods may be called by several goroutines at once.
type pending struct {
	most, mostSilent int

	mu     sync.Mutex
	all    []*entering // oldest first
	silent int         // of all, those that have not spoken
}

func newPending(most int) *pending { return &pending{most: most, mostSilent: max(1, most/silentOf)} }

// add takes a new connection in, which is silent as yet.
func (p *pending) add(e *entering) {
	p.mu.Lock()
	p.all = append(p.all, e)
	p.silent++
	var over []*entering
	switch {
	case p.silent > p.mostSilent:
		over = p.overLocked(p.mostSilent/closeOf, func(e *entering) bool { return !e.spoke })
	case len(p.all) > p.most:
		// One with a place is under way: it goes last, and by its deadlines.
		over = p.overLocked(p.most/closeOf, func(e *entering) bool { return e.pass == nil || e.pass.Gone() })
	}
	for _, e := range over {
		p.removeLocked(e)
	}
	p.mu.Unlock()
	for _, e := range over {
		_ = e.Conn.Close() // its reader ends
	}
}

// overLocked returns at most n, but one, of those that may be closed: the oldest of
// the network that has the most of them.
func (p *pending) overLocked(n int, may func(*entering) bool) []*entering {
	count := make(map[netip.Prefix]int)
	var largest netip.Prefix
	for _, e := range p.all {
		if may(e) {
			if count[e.network]++; count[e.network] > count[largest] {
				largest = e.network
			}
		}
	}
	var over []*entering
	for _, e := range p.all {
		if len(over) == max(1, n) {
			break
		}
		if e.network == largest && may(e) {
			over = append(over, e)
		}
	}
	return over
}

// rename notes that the connection is of another network.
func (p *pending) rename(e *entering, network netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.network = network
}

// spoke notes that the connection is silent no more.
func (p *pending) spoke(e *entering) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !e.gone && !e.spoke {
		p.silent--
	}
	e.spoke = true
}

// placed notes the connection's place. It reports false, and gives the place back,
// if the connection was closed meanwhile.
func (p *pending) placed(e *entering, pass *load.Slot) bool {
	p.mu.Lock()
	if !e.gone {
		e.pass = pass
		p.mu.Unlock()
		return true
	}
	p.mu.Unlock()
	pass.Leave()
	return false
}

// remove ends the time in which the connection counts. Twice is no error.
func (p *pending) remove(e *entering) {
	p.mu.Lock()
	pass := p.removeLocked(e)
	p.mu.Unlock()
	if pass != nil {
		pass.Leave()
	}
}

func (p *pending) removeLocked(e *entering) *load.Slot {
	if e.gone {
		return nil
	}
	e.gone = true
	if !e.spoke {
		p.silent--
	}
	if i := slices.Index(p.all, e); i >= 0 {
		p.all = slices.Delete(p.all, i, i+1)
	}
	return e.pass
}
