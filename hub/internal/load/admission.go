package load

import (
	"iter"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// SlotTime is how long a connection holds a place at most. Without it, peers that
	// begin a handshake and never finish it would keep all others out.
	SlotTime = 3 * time.Second
	// BusySlotTime replaces SlotTime while others wait in Enter.
	BusySlotTime = time.Second
	// One network gets at most shareOf of every shareIn places, so that the other
	// networks always have some.
	shareOf, shareIn = 3, 4
)

// Network is the unit by which sources of connections are counted: the /24 of an IPv4
// address, the /64 of an IPv6 address, of which one host may choose the rest. Addresses
// of other kinds are all one network.
func Network(addr net.Addr) netip.Prefix {
	var ip netip.Addr
	switch a := addr.(type) {
	case *net.TCPAddr:
		ip, _ = netip.AddrFromSlice(a.IP)
	case *net.UDPAddr:
		ip, _ = netip.AddrFromSlice(a.IP)
	}
	bits := 64
	if ip = ip.Unmap(); ip.Is4() {
		bits = 24
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Share is how many of so many places one network may take: three quarters, and
// at least one.
func Share(places int) int { return max(1, places*shareOf/shareIn) }

// Admission bounds how many connections are under way from their first packet to the
// Accept that takes them. If thousands began at once, they would share the CPU, no
// handshake would end before its peer gives up, and all the work would be wasted. So the
// others wait, and cost nothing meanwhile. One network takes at most its Share of the
// places. All methods may be called by several goroutines at once.
type Admission struct {
	places, share int
	left          func()

	mu      sync.Mutex
	taken   []*Slot // oldest first
	of      map[netip.Prefix]int
	waiting []*waiter // oldest first
	hurry   *time.Timer
}

// waiter is a call of Enter that has no place yet.
type waiter struct {
	network netip.Prefix
	granted chan *Slot // has room for one
}

// NewAdmission makes an Admission with so many places. left, unless nil, is called each
// time that a place becomes free.
func NewAdmission(places int, left func()) *Admission {
	if left == nil {
		left = func() {}
	}
	return &Admission{places: places, share: Share(places), left: left, of: make(map[netip.Prefix]int)}
}

// Enter waits for a place for a connection of the network; it returns nil when done is
// closed. The next free place goes to the network that has the fewest places, and there
// to the connection that has waited longest.
func (e *Admission) Enter(network netip.Prefix, done <-chan struct{}) *Slot {
	e.mu.Lock()
	if p := e.passLocked(network); p != nil {
		e.mu.Unlock()
		return p
	}
	w := &waiter{network, make(chan *Slot, 1)}
	e.waiting = append(e.waiting, w)
	e.hurryLocked()
	e.mu.Unlock()
	select {
	case p := <-w.granted:
		return p
	case <-done:
	}
	e.mu.Lock()
	if i := slices.Index(e.waiting, w); i >= 0 {
		e.waiting = slices.Delete(e.waiting, i, i+1)
	}
	e.mu.Unlock()
	select {
	case p := <-w.granted: // granted just before done was closed
		p.Leave()
	default:
	}
	return nil
}

// TryEnter takes a place if one is free for the network, and otherwise gives nil.
func (e *Admission) TryEnter(network netip.Prefix) *Slot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.passLocked(network)
}

// Fewest returns which of the networks has the fewest places.
func (e *Admission) Fewest(networks iter.Seq[netip.Prefix]) (fewest netip.Prefix) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := true
	for n := range networks {
		if first || e.of[n] < e.of[fewest] {
			fewest, first = n, false
		}
	}
	return fewest
}

// Taken is how many places are taken.
func (e *Admission) Taken() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.taken)
}

// Waiting is how many calls of Enter wait.
func (e *Admission) Waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.waiting)
}

func (e *Admission) freeLocked(network netip.Prefix) bool {
	return len(e.taken) < e.places && e.of[network] < e.share
}

func (e *Admission) passLocked(network netip.Prefix) *Slot {
	if !e.freeLocked(network) {
		return nil
	}
	p := &Slot{entry: e, network: network, since: time.Now()}
	e.taken = append(e.taken, p)
	e.of[network]++
	p.timer = time.AfterFunc(SlotTime, p.Leave)
	return p
}

// leaveLocked frees a place for the next one.
func (e *Admission) leaveLocked(p *Slot) {
	p.gone.Store(true)
	p.timer.Stop()
	if i := slices.Index(e.taken, p); i >= 0 {
		e.taken = slices.Delete(e.taken, i, i+1)
	}
	if e.of[p.network]--; e.of[p.network] == 0 {
		delete(e.of, p.network)
	}
	e.grantLocked()
	e.hurryLocked()
}

// grantLocked returns the free places to those that wait.
func (e *Admission) grantLocked() {
	for {
		next := -1
		for i, w := range e.waiting {
			if e.freeLocked(w.network) && (next < 0 || e.of[w.network] < e.of[e.waiting[next].network]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		w := e.waiting[next]
		e.waiting = slices.Delete(e.waiting, next, next+1)
		w.granted <- e.passLocked(w.network)
	}
}

// hurryLocked frees the oldest slot after BusySlotTime if others still wait then.
func (e *Admission) hurryLocked() {
	if e.hurry != nil {
		e.hurry.Stop()
		e.hurry = nil
	}
	if len(e.waiting) == 0 || len(e.taken) == 0 {
		return
	}
	oldest := e.taken[0]
	e.hurry = time.AfterFunc(time.Until(oldest.since.Add(BusySlotTime)), func() {
		e.mu.Lock()
		late := len(e.waiting) > 0
		e.mu.Unlock()
		if late {
			oldest.Leave()
		}
	})
}

// Slot is a place that is taken.
type Slot struct {
	entry   *Admission
	network netip.Prefix
	since   time.Time
	timer   *time.Timer
	gone    atomic.Bool
}

// Leave frees the place. A second call does nothing.
func (p *Slot) Leave() {
	p.entry.mu.Lock()
	if p.gone.Load() {
		p.entry.mu.Unlock()
		return
	}
	p.entry.leaveLocked(p)
	p.entry.mu.Unlock()
	p.entry.left()
}

// Network is that of the connection.
func (p *Slot) Network() netip.Prefix { return p.network }

// Gone reports whether the place was freed.
func (p *Slot) Gone() bool { return p.gone.Load() }
