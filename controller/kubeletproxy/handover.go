package kubeletproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

// handoverTime is how long a client waits for a node whose session has just ended, and how long
// the port stays open once another cloudcore has the node. A node that is asked to connect
// elsewhere does so in less than a second.
const handoverTime = 5 * time.Second

// handover is what an endpoint knows of its node's way to another cloudcore. The Server's mutex
// guards it. The zero value is that of a node that never had a session here.
type handover struct {
	left    time.Time      // when the newest session ended; zero while there is one
	to      netip.AddrPort // the node's endpoint on another cloudcore, once its record names it
	changed chan struct{}  // closed at the next change of these two; nil while nobody waits
	idle    map[net.Conn]struct{}
}

// wakeLocked lets those who wait look again.
func (h *handover) wakeLocked() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// leftLocked notes that the node's session has ended. Its idle connections are closed: a client
// then opens another for its next request, which waits for the node or follows it.
func (s *Server) leftLocked(st *endpoint) {
	st.left = time.Now()
	for c := range st.idle {
		c.Close() // the server notices it by itself
	}
	clear(st.idle)
	st.wakeLocked()
}

// backLocked notes that the node has a session.
func (st *endpoint) backLocked() {
	st.left, st.to = time.Time{}, netip.AddrPort{}
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
	to, _ := Endpoint(item.Object)
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
		st.to = to
		st.wakeLocked()
		s.moved = append(s.moved, movedEndpoint{st, to, time.Now().Add(s.handover)})
		select {
		case s.movedWake <- struct{}{}:
		default:
		}
	}
}

// movedEndpoint is a port that is closed at a time, unless its node comes back before.
type movedEndpoint struct {
	st *endpoint
	to netip.AddrPort
	at time.Time
}

// closeMoved closes the ports of nodes that have changed over, until ctx ends.
func (s *Server) closeMoved(ctx context.Context) {
	for {
		s.mu.Lock()
		for len(s.moved) > 0 && !time.Now().Before(s.moved[0].at) {
			m := s.moved[0]
			s.moved = s.moved[1:]
			if m.st.to != m.to || s.byNode[m.st.node] != m.st {
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
			next = time.After(time.Until(s.moved[0].at))
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

// HandedOver waits until each node whose session has ended here lately is at another cloudcore
// and the clients that followed it have gone, and at most a few seconds. A cloudcore calls it after its
// last session has ended and before it ends Run, so that no request of kubectl fails meanwhile.
func (s *Server) HandedOver(ctx context.Context) {
	end := time.NewTimer(s.handover)
	defer end.Stop()
	for {
		s.mu.Lock()
		wait := s.forwarded
		for _, st := range s.byNode {
			if wait == nil && st.port != 0 && !st.connected && !st.to.IsValid() && s.leavesLocked(st) > 0 {
				wait = st.changedLocked()
			}
		}
		s.mu.Unlock()
		if wait == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-wait:
		}
	}
}

// leavesLocked is how long clients still wait for the node; not above 0 for a node that is here
// or has been away for longer.
func (s *Server) leavesLocked(st *endpoint) time.Duration {
	if st.connected || st.left.IsZero() {
		return 0
	}
	return time.Until(st.left.Add(s.handover))
}

func (h *handover) changedLocked() chan struct{} {
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

// where says where the node of a port is served. The zero value is here; that is also the answer
// for a node that is away, and for a connection that comes from the cloudcore that it would go to.
// It waits for a node that has just left, until done is closed.
func (s *Server) where(port int, client netip.Addr, done <-chan struct{}) netip.AddrPort {
	for {
		s.mu.Lock()
		st := s.byPort[port]
		if st == nil {
			s.mu.Unlock()
			return netip.AddrPort{}
		}
		to, wait := st.to, s.leavesLocked(st)
		var changed chan struct{}
		if !to.IsValid() && wait > 0 {
			changed = st.changedLocked()
		}
		s.mu.Unlock()
		if changed == nil {
			if to.Addr() == client {
				return netip.AddrPort{}
			}
			return to
		}
		timeout := time.NewTimer(wait)
		select {
		case <-changed:
		case <-done:
		case <-timeout.C:
		}
		timeout.Stop()
		select {
		case <-done:
			return netip.AddrPort{}
		default:
		}
	}
}

// idleChanged closes connections that wait for a further request for a node that has left. It is
// the HTTP server's ConnState.
func (s *Server) idleChanged(c net.Conn, state http.ConnState) {
	tcp, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok || state == http.StateNew {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byPort[tcp.Port]
	switch {
	case st == nil:
	case state != http.StateIdle:
		delete(st.idle, c)
	case s.leavesLocked(st) > 0 || st.to.IsValid():
		c.Close()
	default:
		if st.idle == nil {
			st.idle = make(map[net.Conn]struct{})
		}
		st.idle[c] = struct{}{}
	}
}

// handoverListener makes the connections of a port follow its node. The API server reads the
// Node and then dials: meanwhile the node may have gone to another cloudcore.
type handoverListener struct {
	net.Listener
	server *Server
}

// Accept waits for a connection.
func (l *handoverListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &handoverConn{Conn: c, server: l.server, done: make(chan struct{})}, nil
}

// handoverConn decides at its first Read, which the TLS handshake does, where it is served. What is
// served by another cloudcore is copied to it as it is: that one shows its certificate, and sees
// the client's.
type handoverConn struct {
	net.Conn
	server  *Server
	decided bool
	closing sync.Once
	done    chan struct{}
}

// Close closes the connection, and ends a wait.
func (c *handoverConn) Close() error {
	c.closing.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// Read reads, once it is decided that the connection is served here. Else it returns io.EOF at
// the end of the connection.
func (c *handoverConn) Read(p []byte) (int, error) {
	if !c.decided {
		c.decided = true
		if to := c.place(); to.IsValid() {
			if err := c.server.forward(c, to); err != nil {
				c.server.log.Warn("a connection for a node could not be passed on to its cloudcore", "to", to.String(), "err", err)
			}
			return 0, io.EOF
		}
	}
	return c.Conn.Read(p)
}

func (c *handoverConn) place() netip.AddrPort {
	local, ok := c.LocalAddr().(*net.TCPAddr)
	remote, known := c.RemoteAddr().(*net.TCPAddr)
	if !ok || !known {
		return netip.AddrPort{}
	}
	return c.server.where(local.Port, remote.AddrPort().Addr().Unmap(), c.done)
}

// forward copies a connection to and from an endpoint of another cloudcore, until both directions have
// ended.
func (s *Server) forward(c *handoverConn, to netip.AddrPort) error {
	if !s.requests.Enter() {
		return nil
	}
	defer s.requests.Leave()
	s.countForward(1)
	defer s.countForward(-1)
	peer, err := net.DialTimeout("tcp", to.String(), s.handover)
	if err != nil {
		return err
	}
	defer peer.Close()
	if err := c.SetDeadline(time.Time{}); err != nil { // the server set one for the handshake
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { copyHalf(peer, c.Conn) })
	copyHalf(c.Conn, peer)
	wg.Wait()
	return nil
}

// countForward counts the connections that are being copied.
func (s *Server) countForward(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forwards += n; n > 0 {
		s.sessions.forwarded.Inc()
	}
	switch {
	case s.forwards == 0:
		close(s.forwarded)
		s.forwarded = nil
	case s.forwarded == nil:
		s.forwarded = make(chan struct{})
	}
}

// copyHalf copies one direction, and passes its end on.
func copyHalf(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil && !errors.Is(err, io.EOF) || !ok {
		to.Close()
		from.Close()
		return
	}
	_ = half.CloseWrite() // the other direction may go on
}
