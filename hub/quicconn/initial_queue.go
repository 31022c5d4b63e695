package quicconn

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/edgekit/edgekit/hub/internal/load"
)

const (
	// maxWaiting is how many connections wait at most. The packets of more are dropped;
	// their edges send them again (RFC 9002 section 6.2).
	maxWaiting = 4096
	// maxFlight is how many packets of a connection are kept. A client begins with two,
	// since its key share for ML-KEM does not fit in one.
	maxFlight = 3
	// maxQueueTime is how long a connection waits. Its edge waits no longer, and began
	// earlier if its first packets were lost (answerTimeout).
	maxQueueTime = 10 * time.Second
	// maxEntered is how many of the last connections that were let in are remembered.
	maxEntered = 4096
	// fewestOf divides the number of places while the CPU is short.
	fewestOf = 16
	// minInitial is the size of the smallest packet that may begin a connection
	// (RFC 9000 section 14.1).
	minInitial = 1200
)

// initialQueue keeps the first packets (Initials) of connections, in the order of
// arrival, while all places are taken by others. quic-go's own queue of them is short
// and drops by chance what does not fit, some connections again and again; see doc.go.
// A nil initialQueue passes every packet on. One goroutine at a time may call hold and
// next; the other methods may be called by any.
type initialQueue struct {
	mark     marked
	entry    *load.Admission
	places   int         // connections under way at a time
	many     atomic.Bool // at least one waits
	unproven atomic.Int64

	mu      sync.Mutex
	short   func(now time.Time) bool      // whether the CPU is short
	callers map[quic.ConnectionID]*caller // those in waiting and in entered
	waiting []*caller
	line    map[netip.Prefix]int // of waiting, by network
	entered []*caller            // let in, the last ones
	passes  []*load.Slot         // of those let in that quic-go has not begun yet
	ready   []packet             // of the one that was let in last
	// underway are the connections that quic-go has begun, whose end before Accept frees
	// a place. They are looked through when there is no free place: a context.AfterFunc
	// would cost each of them half a KiB for as long as it lives.
	underway []*share
}

// share is what a connection takes of its Listener's limits.
type share struct {
	ctx      context.Context // ends with the connection
	pass     *load.Slot      // its place on the way in
	unproven atomic.Bool     // counts in initialQueue.unproven
	forget   func() bool     // stops the AfterFunc that removes it from the backlog; nil when it is not there
	grown    atomic.Int64    // bytes of Listener.grown
}

// shareKey is where a connection's context has its share.
type shareKey struct{}

// shareOf is the share of a connection; false if it is of another listener.
func shareOf(conn *quic.Conn) (*share, bool) {
	s, ok := conn.Context().Value(shareKey{}).(*share)
	return s, ok
}

// caller is a connection that a client begins, known by the id that the client chose
// for the server (RFC 9000 section 7.2).
type caller struct {
	id      quic.ConnectionID
	network netip.Prefix // of its source address, which is not proved yet
	since   time.Time
	entered bool
	packets []packet
}

// packet is what a socket has read.
type packet struct {
	data, oob []byte
	from      net.Addr
}

func newInitialQueue(mark marked, places int, wake func()) *initialQueue {
	l := &initialQueue{
		mark: mark, places: places,
		short: new(load.CPU).Short, callers: make(map[quic.ConnectionID]*caller), line: make(map[netip.Prefix]int),
	}
	l.entry = load.NewAdmission(places, func() {
		if l.many.Load() {
			wake()
		}
	})
	return l
}

// hold reports whether a packet must wait, and keeps a copy of one that must. All others
// go to quic-go at once.
func (l *initialQueue) hold(p packet) bool {
	if l == nil {
		return false
	}
	id, ok := beginning(p.data)
	if !ok || l.mark.made(id) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.callers[id]
	switch {
	case c == nil:
		c = &caller{id: id, network: load.Network(p.from), since: time.Now()}
		l.expireLocked(c.since)
		if len(l.waiting) == 0 && l.letInLocked(c) {
			return false
		}
		if len(l.waiting) == maxWaiting || l.line[c.network] >= load.Share(maxWaiting) {
			return true
		}
		l.waiting = append(l.waiting, c)
		l.line[c.network]++
		l.callers[id] = c
		l.many.Store(true)
	case c.entered:
		return false
	}
	if len(c.packets) < maxFlight {
		c.packets = append(c.packets, packet{bytes.Clone(p.data), bytes.Clone(p.oob), p.from})
	}
	return true
}

// next returns a packet of the next connection that gets a place, if there is one.
func (l *initialQueue) next() (p packet, ok bool) {
	if l == nil || !l.many.Load() {
		return packet{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expireLocked(time.Now())
	if i := l.nextLocked(); len(l.ready) == 0 && i >= 0 && l.letInLocked(l.waiting[i]) {
		c := l.waiting[i]
		l.ready, c.packets = c.packets, nil
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.leftLineLocked(c)
	}
	if len(l.ready) > 0 {
		p, ok = l.ready[0], true
		l.ready = l.ready[1:]
	}
	l.many.Store(len(l.waiting)+len(l.ready) > 0)
	return p, ok
}

// nextLocked returns the index of the connection that gets the next place: the oldest
// of the network that has the fewest places. It is -1 if none waits.
func (l *initialQueue) nextLocked() int {
	if len(l.waiting) == 0 || len(l.line) == 1 {
		return min(1, len(l.waiting)) - 1
	}
	next := l.entry.Fewest(maps.Keys(l.line))
	return slices.IndexFunc(l.waiting, func(c *caller) bool { return c.network == next })
}

// leftLineLocked stops counting a connection that no longer waits.
func (l *initialQueue) leftLineLocked(c *caller) {
	if l.line[c.network]--; l.line[c.network] <= 0 {
		delete(l.line, c.network)
	}
}

// length is how many connections wait.
func (l *initialQueue) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// expireLocked drops the connections that have waited for too long, and those whose
// handshake has certainly ended.
func (l *initialQueue) expireLocked(now time.Time) {
	l.waiting = l.dropLocked(l.waiting, now.Add(-maxQueueTime), maxWaiting, l.leftLineLocked)
	l.entered = l.dropLocked(l.entered, now.Add(-handshakeTimeout), maxEntered, func(*caller) {})
}

// dropLocked drops the callers at the front that came before then, or are too many, and
// calls gone for each.
func (l *initialQueue) dropLocked(callers []*caller, then time.Time, most int, gone func(*caller)) []*caller {
	n := 0
	for n < len(callers) && (callers[n].since.Before(then) || len(callers)-n > most) {
		delete(l.callers, callers[n].id)
		gone(callers[n])
		n++
	}
	return slices.Delete(callers, 0, n)
}

// letInLocked gives a caller a place if one is free, and if the CPU is not short.
func (l *initialQueue) letInLocked(c *caller) bool {
	now, places := time.Now(), l.places
	if few := max(1, l.places/fewestOf); l.entry.Taken() >= few && l.short(now) {
		places = few
	}
	if l.entry.Taken() >= places {
		l.sweepLocked()
	}
	if l.entry.Taken() >= places {
		return false
	}
	pass := l.entry.TryEnter(c.network)
	if pass == nil {
		return false
	}
	l.passes = append(slices.DeleteFunc(l.passes, (*load.Slot).Gone), pass)
	c.entered, c.since = true, now
	l.callers[c.id] = c
	l.entered = append(l.entered, c)
	return true
}

func (l *initialQueue) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepLocked()
}

// sweepLocked drops the connections that have ended, and frees their places.
func (l *initialQueue) sweepLocked() {
	l.underway = slices.DeleteFunc(l.underway, func(s *share) bool {
		if s.ctx.Err() != nil {
			l.proven(s)
			s.pass.Leave()
		}
		return s.pass.Gone() && !s.unproven.Load()
	})
}

// begin is called when quic-go begins a connection of the network; verified means that
// its address is proved. A connection that came through the queue has a place; another
// one waits for it, until done is closed, which gives nil.
func (l *initialQueue) begin(ctx context.Context, network netip.Prefix, verified bool, done <-chan struct{}) *share {
	s := &share{ctx: ctx, pass: l.placed(network)}
	if s.pass == nil {
		l.sweep()
		s.pass = l.entry.Enter(network, done)
	}
	if s.pass == nil {
		return nil
	}
	if !verified {
		s.unproven.Store(true)
		l.unproven.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.underway) >= 2*l.places {
		l.sweepLocked()
	}
	l.underway = append(l.underway, s)
	return s
}

// refuse reports whether there are so many unproven connections that the one that was
// let in must prove its address first (Retry, RFC 9000 section 8.1.2). It then frees
// its place.
func (l *initialQueue) refuse(network netip.Prefix, most int) bool {
	if l.unproven.Load() < int64(most) {
		return false
	}
	l.sweep()
	if l.unproven.Load() < int64(most) {
		return false
	}
	if pass := l.placed(network); pass != nil {
		pass.Leave()
	}
	return true
}

// proven stops counting the connection as unproven.
func (l *initialQueue) proven(s *share) {
	if s.unproven.Swap(false) {
		l.unproven.Add(-1)
	}
}

// placed takes the oldest place of the network that quic-go has not used yet. It is that
// of the connection asked for unless packets were lost or invalid, and any place of the
// network is as good. It is nil if there is none, as for a connection that comes back
// with a proof of its address.
func (l *initialQueue) placed(network netip.Prefix) *load.Slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passes = slices.DeleteFunc(l.passes, (*load.Slot).Gone)
	i := slices.IndexFunc(l.passes, func(p *load.Slot) bool { return p.Network() == network })
	if i < 0 {
		return nil
	}
	pass := l.passes[i]
	l.passes = slices.Delete(l.passes, i, i+1)
	return pass
}

// beginning returns the server's id in a packet that begins a connection (an Initial:
// RFC 9000 section 17.2.2, RFC 9369 section 3.2). It reports false for every other
// packet, and for those that quic-go refuses.
func beginning(b []byte) (id quic.ConnectionID, ok bool) {
	const idAt = 6 // behind the first byte, the version and the id's length
	if len(b) < minInitial || b[0]&headerForm == 0 || len(b) < idAt+int(b[idAt-1]) || b[idAt-1] > maxID {
		return id, false
	}
	kind := b[0] & headerKind
	switch quic.Version(binary.BigEndian.Uint32(b[1:])) {
	case quic.Version1:
		ok = kind == 0
	case quic.Version2:
		ok = kind == 0x10
	}
	if !ok {
		return id, false
	}
	return quic.ConnectionIDFromBytes(b[idAt : idAt+int(b[idAt-1])]), true
}

// headerKind is where a long header has the kind of its packet, and maxID the
// longest id (RFC 9000 section 17.2).
const (
	headerKind = 0x30
	maxID      = 20
)
