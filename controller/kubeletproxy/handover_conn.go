package kubeletproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// useLocked notes that a connection is in use.
func (h *handover) useLocked(c *handoverConn) {
	if h.conns == nil {
		h.conns = make(map[*handoverConn]*connUse)
	}
	h.conns[c] = &connUse{done: make(chan struct{})}
}

// stateChanged follows what connections are used for. Those that wait for a further request for a
// node that has left are closed. It is the HTTP server's ConnState.
func (s *Server) stateChanged(c net.Conn, state http.ConnState) {
	hc, port, ok := handoverOf(c)
	if !ok || state == http.StateNew {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byPort[port]
	if st == nil {
		return
	}
	use := st.conns[hc]
	switch {
	case use == nil: // it is passed on
	case state == http.StateActive:
		if use.idle {
			st.useLocked(hc)
		}
	default:
		if !use.idle {
			use.idle = true
			close(use.done)
		}
		if leaves := s.leavesLocked(st) > 0; state != http.StateIdle || leaves {
			delete(st.conns, hc)
			if state == http.StateIdle {
				hc.Close()
			}
		}
	}
}

// handoverOf finds the connection below TLS and the limit, and its port.
func handoverOf(c net.Conn) (*handoverConn, int, bool) {
	t, ok := c.(*tls.Conn)
	if !ok {
		return nil, 0, false
	}
	limited, ok := t.NetConn().(*limitedConn)
	if !ok {
		return nil, 0, false
	}
	hc, ok := limited.Conn.(*handoverConn)
	local, tcp := c.LocalAddr().(*net.TCPAddr)
	if !ok || !tcp {
		return nil, 0, false
	}
	return hc, local.Port, true
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
	limited *limitedConn // that it is counted by; set before the first Read
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
		if local, ok := c.LocalAddr().(*net.TCPAddr); ok {
			if to, leave := c.server.place(local.Port, c); leave != nil {
				defer leave()
				if c.limited != nil {
					c.server.limiter.setPassed(c.limited)
				}
				if err := c.server.forward(c, to); err != nil {
					c.server.logUnreached(local.Port, to, err)
				}
				return 0, io.EOF
			}
		}
	}
	return c.Conn.Read(p)
}

// forward copies a connection to and from an endpoint of another cloudcore, until both directions have
// ended. Once the other cloudcore has ended its one, it answers no more: the client then has a few
// seconds to end the other.
func (s *Server) forward(c *handoverConn, to netip.AddrPort) error {
	if !s.requests.Enter() {
		return nil
	}
	defer s.requests.Leave()
	s.mu.Lock()
	dial := s.dial
	s.mu.Unlock()
	if dial == nil {
		return nil // Run ends
	}
	peer, err := dial(to, c.done)
	if err != nil {
		select {
		case <-c.done:
			return nil // it was closed meanwhile, by a flood or the end of Run
		default:
			return err
		}
	}
	defer peer.Close()
	if err := c.SetDeadline(time.Time{}); err != nil { // the server set one for the handshake
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { copyHalf(peer, c.Conn) })
	copyHalf(c.Conn, peer)
	_ = c.SetReadDeadline(time.Now().Add(s.handover)) // fails where it is closed
	wg.Wait()
	return nil
}

// logUnreached logs that a connection could not be passed on, once for each move of a node: whoever
// connects gets this far, and must not fill the log.
func (s *Server) logUnreached(port int, to netip.AddrPort, err error) {
	s.mu.Lock()
	st := s.byPort[port]
	logged := st == nil || st.unreached == to
	if !logged {
		st.unreached = to
	}
	s.mu.Unlock()
	if !logged {
		s.log.Warn("a connection for a node could not be passed on to its cloudcore: kubectl logs and exec fail for it meanwhile", "node", st.node, "to", to.String(), "err", err)
	}
}

// dialEndpoint connects to another cloudcore's endpoint. It gives up after a time, when ctx ends, and
// when closed is closed.
func dialEndpoint(ctx context.Context, to netip.AddrPort, closed <-chan struct{}, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-closed:
			cancel()
		case <-ctx.Done():
		}
	})
	defer wg.Wait()
	defer cancel()
	return new(net.Dialer).DialContext(ctx, "tcp", to.String())
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
