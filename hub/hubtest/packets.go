package hubtest

import (
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// Packets is a network of UDP sockets in memory, for tests of transports over
// UDP in a synctest bubble, where the clock is the test's own. Make it inside
// the bubble. The zero value is ready. Its methods may be called by several
// goroutines at once.
type Packets struct {
	mu      sync.Mutex
	last    int // port
	sockets map[int]*packetSocket
}

const (
	// firstPort is the lowest port that Packets gives to a socket by itself.
	firstPort = 1024
	// mostQueued is how many unread packets a socket holds. It drops further ones, as a
	// kernel does.
	mostQueued = 4096
)

// Listen opens a socket on 127.0.0.1 at the port; 0 takes one that was never used. The
// caller closes it.
func (p *Packets) Listen(port int) (net.PacketConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if port == 0 {
		p.last = max(p.last+1, firstPort)
		port = p.last
	}
	addr := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	if p.sockets[port] != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: addr, Err: os.ErrExist}
	}
	s := &packetSocket{net: p, addr: addr}
	s.ready.L = &s.mu
	if p.sockets == nil {
		p.sockets = make(map[int]*packetSocket)
	}
	p.sockets[port] = s
	return s, nil
}

// Proxy runs a PacketProxy to target, a socket of p, until the test ends. Which packets
// are lost depends on seed alone.
func (p *Packets) Proxy(t testing.TB, target net.Addr, seed uint64) *PacketProxy {
	t.Helper()
	return newPacketProxy(t, func() (net.PacketConn, error) { return p.Listen(0) }, target, seed)
}

func (p *Packets) socket(to net.Addr) *packetSocket {
	addr, ok := to.(*net.UDPAddr)
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sockets[addr.Port]
}

type datagram struct {
	data []byte
	from net.Addr
}

// packetSocket is one socket of Packets.
type packetSocket struct {
	net  *Packets
	addr *net.UDPAddr

	mu       sync.Mutex
	ready    sync.Cond // something below has changed
	queue    []datagram
	closed   bool
	deadline time.Time // of reads
	timer    *time.Timer
}

func (s *packetSocket) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: s.addr, Err: err}
}

// ReadFrom waits for the next packet.
func (s *packetSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, nil, s.fail("read", net.ErrClosed)
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, nil, s.fail("read", os.ErrDeadlineExceeded)
		case len(s.queue) > 0:
			one := s.queue[0]
			s.queue = s.queue[1:]
			return copy(b, one.data), one.from, nil
		}
		s.ready.Wait()
	}
}

// WriteTo never waits. A packet to an address without a socket is lost.
func (s *packetSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return 0, s.fail("write", net.ErrClosed)
	}
	if far := s.net.socket(to); far != nil {
		far.put(datagram{slices.Clone(b), s.addr})
	}
	return len(b), nil
}

func (s *packetSocket) put(d datagram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && len(s.queue) < mostQueued {
		s.queue = append(s.queue, d)
		s.ready.Broadcast()
	}
}

// Close frees the socket's port.
func (s *packetSocket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.fail("close", net.ErrClosed)
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.ready.Broadcast()
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	delete(s.net.sockets, s.addr.Port)
	return nil
}

// LocalAddr is a *net.UDPAddr.
func (s *packetSocket) LocalAddr() net.Addr { return s.addr }

// SetDeadline is SetReadDeadline: no write waits.
func (s *packetSocket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline ends reads at t, those under way too; the zero time never.
func (s *packetSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.fail("set", net.ErrClosed)
	}
	s.deadline = t
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if left := time.Until(t); !t.IsZero() && left > 0 {
		s.timer = time.AfterFunc(left, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ready.Broadcast()
		})
	}
	s.ready.Broadcast()
	return nil
}

// SetWriteDeadline does nothing: no write waits.
func (s *packetSocket) SetWriteDeadline(time.Time) error { return nil }
