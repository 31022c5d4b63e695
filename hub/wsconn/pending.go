package wsconn

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/hub/internal/load"
)

// One in silentOf of the pending connections may be silent. One in closeOf of them is
// closed at once when they are too many: to look through all of them for each new one
// would cost too much.
const (
	silentOf = 4
	closeOf  = 16
)

// pending holds the TCP connections that are not links, or not yet. A peer opens one at
// no cost, so their number is bounded. When they are too many, the oldest of the network
// that has the most are closed: a network that opens many pays for them itself. All
// methods may be called by several goroutines at once.
type pending struct {
	most, mostSilent int

	mu     sync.Mutex
	all    []*entering // oldest first
	silent int         // of all, those that have not spoken
}

func newPending(most int) *pending { return &pending{most: most, mostSilent: max(1, most/silentOf)} }

// add adds a new connection, which has not sent a byte yet.
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

// overLocked returns at most n (at least one, if there is one) of the connections that
// may be closed: the oldest of the network that has the most of them.
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

// rename counts the connection to another network, once its balancer has named the
// client.
func (p *pending) rename(e *entering, network netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.network = network
}

// spoke records that the connection has sent its first byte.
func (p *pending) spoke(e *entering) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !e.gone && !e.spoke {
		p.silent--
	}
	e.spoke = true
}

// placed records the connection's place. It reports false, and gives the place back, if
// the connection was closed meanwhile.
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

// remove stops counting the connection. A second call does nothing.
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
