package kubeletproxy

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

// handoverTime is how long a client waits for a node whose session has just ended, and how long
// the port stays open once another cloudcore has the node. A node that is asked to connect
// elsewhere does so in less than a second.
const handoverTime = 5 * time.Second

// maxForwards is how many connections of one node are passed on at once. It ends what goes in a circle
// between two cloudcores, each of which has read that the other one has the node. Passing on lasts for
// handoverTime, and beyond it only for what is followed; so few nodes ever have so many.
const maxForwards = 100

// handover is what an endpoint knows of its node's way to another cloudcore. The Server's mutex
// guards it. The zero value is that of a node that never had a session here.
type handover struct {
	leaving bool           // its session is about to end
	joined  time.Time      // when the newest session began
	left    time.Time      // when the newest session ended or was about to; zero while there is one
	to      netip.AddrPort // the node's endpoint on another cloudcore, once its record names it
	moved   time.Time      // when the record named it
	changed chan struct{}  // closed at the next change of these; nil while nobody waits
	passed  int            // connections that are being passed on
	// unreached is the endpoint of which a log line says that it cannot be reached.
	unreached netip.AddrPort
	// conns are the open connections that are served here. Upgraded ones are not among them.
	conns map[*handoverConn]*connUse
}

// connUse is what a connection is used for.
type connUse struct {
	idle bool          // it waits for the next request
	done chan struct{} // closed when it is idle, upgraded or closed
}

// wakeLocked lets those who wait look again.
func (h *handover) wakeLocked() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// leavingTime is how long Leaving waits for requests that are being answered.
const leavingTime = time.Second

// Leaving prepares for the end of a node's session: further requests wait for where the node goes,
// and those that are being answered are waited for, at most a second. What lasts longer, such as
// a followed log, breaks with the session. It is for hub.ServerConfig.Leaving.
func (s *Server) Leaving(ctx context.Context, node string) {
	ctx, cancel := context.WithTimeout(ctx, leavingTime)
	defer cancel()
	s.mu.Lock()
	var busy []<-chan struct{}
	if st := s.byNode[node]; st != nil && st.connected {
		st.leaving = true
		s.leftLocked(st)
		for _, use := range st.conns {
			busy = append(busy, use.done)
		}
	}
	s.mu.Unlock()
	for _, done := range busy {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// leftLocked notes that the node's session has ended or is about to. Its idle connections are
// closed: a client then opens another for its next request, which waits for the node or follows it.
func (s *Server) leftLocked(st *endpoint) {
	st.left = time.Now()
	st.closeIdleLocked()
	st.wakeLocked()
}

// closeIdleLocked closes the connections that wait for a further request.
func (h *handover) closeIdleLocked() {
	for c, use := range h.conns {
		if use.idle {
			delete(h.conns, c)
			c.Close() // the server notices it by itself
		}
	}
}

// closeConnsLocked closes the connections that wait for a further request and forgets the others: their port is closed.
func (h *handover) closeConnsLocked() {
	h.closeIdleLocked()
	for _, use := range h.conns {
		close(use.done)
	}
	h.conns = nil
}

// backLocked notes that the node has a session.
func (st *endpoint) backLocked() {
	st.joined, st.left, st.to, st.moved, st.leaving = time.Now(), time.Time{}, netip.AddrPort{}, time.Time{}, false
	st.unreached = netip.AddrPort{}
	st.wakeLocked()
}

// otherEndpoint is the node's endpoint on another cloudcore, as its record says; the zero value if
// the record names none.
func (s *Server) otherEndpoint(node string) netip.AddrPort {
	if s.cfg.Nodes == nil {
		return netip.AddrPort{}
	}
	item, ok := s.cfg.Nodes.Load(cache.Name{Name: node})
	if !ok {
		return netip.AddrPort{}
	}
	if here, _ := s.recordedPort(item.Object); here {
		return netip.AddrPort{}
	}
	return s.endpointElsewhere(item.Object)
}

// endpointElsewhere is the endpoint on another cloudcore that a Node's record names; the zero value if it
// names none. Whoever connects is passed on to it before it is known who that is. Where nothing keeps
// nodes from the label (NodeRestriction is off), a node could name a program that serves only this machine,
// or the metadata service of a cloud provider, and so such addresses are none.
func (s *Server) endpointElsewhere(node *corev1.Node) netip.AddrPort {
	to, ok := Endpoint(node)
	a, own := to.Addr().Unmap(), s.cfg.Address.Unmap()
	if !ok || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() && !own.IsLoopback() || a.IsLinkLocalUnicast() && !own.IsLinkLocalUnicast() {
		return netip.AddrPort{}
	}
	return to
}

// movedLocked notes that the node's record names another cloudcore. The port stays open for
// clients that have read the Node before.
func (s *Server) movedLocked(st *endpoint, to netip.AddrPort) {
	if st.left.IsZero() || !to.IsValid() || s.serve == nil {
		s.removeNodeLocked(st)
		return
	}
	if st.to != to {
		st.to, st.moved = to, time.Now()
		st.wakeLocked()
		s.moved = append(s.moved, movedEndpoint{st, st.moved})
		select {
		case s.movedWake <- struct{}{}:
		default:
		}
	}
}

// movedEndpoint is a port that is closed some time after its node has moved, unless the node comes
// back before.
type movedEndpoint struct {
	st    *endpoint
	since time.Time
}

// closeMoved closes the ports of nodes that have changed over, until ctx ends.
func (s *Server) closeMoved(ctx context.Context) {
	for {
		s.mu.Lock()
		for len(s.moved) > 0 && time.Since(s.moved[0].since) >= s.handover {
			m := s.moved[0]
			s.moved = s.moved[1:]
			if m.st.moved != m.since || s.byNode[m.st.node] != m.st { // it came back, or went elsewhere since
				continue
			}
			port := m.st.port
			s.removeNodeLocked(m.st)
			for _, other := range s.records.nodes[port] {
				s.openRecordedPortLocked(other)
			}
		}
		var next <-chan time.Time
		if len(s.moved) > 0 {
			next = time.After(time.Until(s.moved[0].since.Add(s.handover)))
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-s.movedWake:
		}
	}
}

// lateTime is how long after a node's move a client may still dial the address that it had read
// from the Node before.
const lateTime = time.Second

// HandedOver waits until each node whose session has ended here lately is at another cloudcore
// and the clients that followed it have gone, and at most a few seconds. A cloudcore calls it after its
// last session has ended and before it ends Run, so that no request of kubectl fails meanwhile.
func (s *Server) HandedOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.handover)
	defer cancel()
	for {
		wait, late := s.handingOver()
		if wait == nil && late <= 0 {
			return
		}
		var later <-chan time.Time
		if wait == nil {
			later = time.After(late)
		}
		select {
		case <-ctx.Done():
			return
		case <-wait:
		case <-later:
		}
	}
}

// handingOver returns a channel that is closed when what HandedOver waits for may have changed, or how
// long clients may still come late.
func (s *Server) handingOver() (wait <-chan struct{}, late time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forwarded != nil {
		return s.forwarded, 0
	}
	for _, st := range s.byNode {
		if st.port != 0 && !st.connected && !st.to.IsValid() && s.leavesLocked(st) > 0 {
			return st.changedLocked(), 0
		}
	}
	if n := len(s.moved); n > 0 {
		late = time.Until(s.moved[n-1].since.Add(lateTime))
	}
	return nil, late
}

// leavesLocked is how long clients still wait for the node; not above 0 for a node that is here
// or has been away for longer.
func (s *Server) leavesLocked(st *endpoint) time.Duration {
	if st.connected && !st.leaving || st.left.IsZero() {
		return 0
	}
	return time.Until(st.left.Add(s.handover))
}

// arrivesLocked is how long clients wait for the record of a node that has just come. The cloudcore
// before may read the record earlier than the one that has written it gets the answer.
func (s *Server) arrivesLocked(st *endpoint) time.Duration {
	if s.cfg.Nodes == nil || !st.connected || s.records.port[st.node] == st.port {
		return 0
	}
	return time.Until(st.joined.Add(s.handover))
}

func (h *handover) changedLocked() chan struct{} {
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

// place says where the node of a port is served, for one more connection. The zero value is here;
// that is also the answer for a node that is away. With another one the caller calls leave at the
// connection's end. place waits for a node that has just left or come, until c is closed.
func (s *Server) place(port int, c *handoverConn) (to netip.AddrPort, leave func()) {
	for {
		s.mu.Lock()
		st := s.byPort[port]
		if st != nil && st.to.IsValid() && st.passed < maxForwards {
			defer s.mu.Unlock()
			return st.to, s.passLocked(st)
		}
		var changed <-chan struct{}
		var wait time.Duration
		if st != nil && !st.to.IsValid() {
			if wait = max(s.leavesLocked(st), s.arrivesLocked(st)); wait > 0 {
				changed = st.changedLocked()
			} else {
				st.useLocked(c)
			}
		}
		s.mu.Unlock()
		if changed == nil {
			return netip.AddrPort{}, nil
		}
		timeout := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timeout.C:
		case <-c.done:
			timeout.Stop()
			return netip.AddrPort{}, nil
		}
		timeout.Stop()
	}
}

// passLocked counts a connection that is passed on, until the function that it returns is called.
func (s *Server) passLocked(st *endpoint) (leave func()) {
	st.passed++
	s.sessions.forwarded.Inc()
	if s.forwards++; s.forwards == 1 {
		s.forwarded = make(chan struct{})
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		st.passed--
		if s.forwards--; s.forwards == 0 {
			close(s.forwarded)
			s.forwarded = nil
		}
	}
}
