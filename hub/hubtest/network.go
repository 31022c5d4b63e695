package hubtest

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// Network is a network of TCP connections in memory, for tests of transports over
// TCP in a synctest bubble, where the clock is the test's own. Make it inside the
// bubble. Its connections hold whatever is written until it is read, so that no
// write waits. The zero value is ready. Its methods may be called by several
// goroutines at once.
type Network struct {
	mu        sync.Mutex
	last      int // port
	listeners map[string]*memoryListener
}

// Listen opens a listener on 127.0.0.1 at a port that was never used. The caller closes
// it.
func (n *Network) Listen() (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &memoryListener{addr: n.nextLocked(), conns: make(chan net.Conn), done: make(chan struct{})}
	if n.listeners == nil {
		n.listeners = make(map[string]*memoryListener)
	}
	n.listeners[l.addr.String()] = l
	return l, nil
}

func (n *Network) nextLocked() *net.TCPAddr {
	n.last = max(n.last+1, firstPort)
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n.last}
}

// DialContext connects to a listener of n, as net.Dialer does.
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	l, own := n.listeners[addr], n.nextLocked()
	n.mu.Unlock()
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: network, Source: own, Err: err} }
	if l == nil {
		return nil, fail(os.ErrNotExist)
	}
	up, down := newHalf(), newHalf()
	select {
	case l.conns <- &memoryConn{in: up, out: down, near: l.addr, far: own}:
		return &memoryConn{in: down, out: up, near: own, far: l.addr}, nil
	case <-l.done:
		return nil, fail(net.ErrClosed)
	case <-ctx.Done():
		return nil, fail(ctx.Err())
	}
}

// Proxy runs a Proxy to target, a listener of n, until the test ends.
func (n *Network) Proxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := n.Listen()
	if err != nil {
		t.Fatal(err)
	}
	return newProxy(t, l, func(ctx context.Context) (net.Conn, error) { return n.DialContext(ctx, "tcp", target) })
}

type memoryListener struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Source: l.addr, Err: net.ErrClosed}
	}
}

func (l *memoryListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *memoryListener) Addr() net.Addr { return l.addr }

// half is one direction of a connection.
type half struct {
	mu       sync.Mutex
	changed  sync.Cond
	data     []byte
	ended    bool // by the writer: bytes written before can still be read
	closed   bool // by the reader
	deadline time.Time
	timer    *time.Timer
}

func newHalf() *half {
	h := &half{}
	h.changed.L = &h.mu
	return h
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return 0, net.ErrClosed
		case !h.deadline.IsZero() && !time.Now().Before(h.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0 || len(b) == 0:
			n := copy(b, h.data)
			h.data = h.data[n:]
			return n, nil
		case h.ended:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *half) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return 0, net.ErrClosed
	case h.closed:
		return 0, io.ErrClosedPipe // the peer has closed its end
	}
	h.data = append(h.data, b...)
	h.changed.Broadcast()
	return len(b), nil
}

// end refuses later writes; closed also drops unread bytes.
func (h *half) end(closed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if closed {
		h.closed, h.data = true, nil
	} else {
		h.ended = true
	}
	h.stopLocked()
	h.changed.Broadcast()
}

func (h *half) stopLocked() {
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

func (h *half) setDeadline(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deadline = t
	h.stopLocked()
	if left := time.Until(t); !t.IsZero() && left > 0 && !h.closed {
		h.timer = time.AfterFunc(left, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changed.Broadcast()
		})
	}
	h.changed.Broadcast()
}

// memoryConn is one end of a connection.
type memoryConn struct {
	in, out   *half
	near, far net.Addr
}

func (c *memoryConn) fail(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // net.Conn gives io.EOF itself
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.near, Addr: c.far, Err: err}
}

func (c *memoryConn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.fail("read", err)
}

func (c *memoryConn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.fail("write", err)
}

func (c *memoryConn) Close() error {
	c.out.end(false)
	c.in.end(true)
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return c.near }
func (c *memoryConn) RemoteAddr() net.Addr { return c.far }

func (c *memoryConn) SetDeadline(t time.Time) error     { return c.SetReadDeadline(t) }
func (c *memoryConn) SetReadDeadline(t time.Time) error { c.in.setDeadline(t); return nil }

// SetWriteDeadline does nothing: no write waits.
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }
