package broker

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// connectTimeout is how long a new connection may take for its TLS handshake
// and first packet. mochi sets no limit before that packet.
const connectTimeout = 10 * time.Second

// listener accepts conns and closes all of them at the end: mochi waits for every
// connection that it ever accepted, even one that never sent a byte.
type listener struct {
	net.Listener
	tls    *tls.Config
	buffer int
	slow   func(remote net.Addr) // called for a connection that is closed because it does not read; does not block

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool
	writers sync.WaitGroup
}

func newListener(inner net.Listener, config *tls.Config, buffer int, slow func(net.Addr)) *listener {
	return &listener{Listener: inner, tls: config, buffer: buffer, slow: slow, conns: make(map[*conn]struct{})}
}

// Accept waits for the next connection and starts its writer.
func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.tls != nil {
		raw = tls.Server(raw, l.tls)
	}
	c := &conn{Conn: raw, owner: l, limit: l.buffer}
	c.wake.L = &c.mu
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil, errors.Join(net.ErrClosed, raw.Close())
	}
	l.conns[c] = struct{}{}
	l.writers.Go(c.write)
	l.mu.Unlock()
	return c, raw.SetDeadline(time.Now().Add(connectTimeout))
}

// expire closes the connections that are still open after grace.
func (l *listener) expire(grace time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	deadline := time.Now().Add(grace)
	for c := range l.conns {
		c.expire(deadline)
	}
}

// shutdown closes everything and waits for the writers.
func (l *listener) shutdown() {
	_ = l.Listener.Close() // mochi has closed it before
	l.mu.Lock()
	l.closing = true
	for c := range l.conns {
		c.abort()
	}
	l.mu.Unlock()
	l.writers.Wait()
}

// remove removes a connection that has ended.
func (l *listener) remove(c *conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// conn writes in a goroutine of its own. mochi holds a client's lock while it
// writes to the client's socket, and takes the same lock to publish to the client:
// one client that does not read would block everyone who publishes to it. A conn's
// Write only copies to memory. All bytes that wait while the socket is busy are
// written in one system call.
type conn struct {
	net.Conn
	owner *listener
	limit int

	mu       sync.Mutex
	wake     sync.Cond // buf, closed
	buf      []byte
	closed   bool
	expiring bool // deadlines are fixed
	err      error
}

var errNotReading = errors.New("client does not read")

// Write accepts b as a whole, or closes the connection and fails if too many bytes
// of the client wait.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return 0, c.err
	case c.closed:
		return 0, net.ErrClosed
	case len(c.buf) > 0 && len(c.buf)+len(b) > c.limit:
		c.err = errNotReading
		c.wake.Signal()
		_ = c.Conn.Close() // ends the writer's write and mochi's read
		c.owner.slow(c.RemoteAddr())
		return 0, c.err
	}
	c.buf = append(c.buf, b...)
	c.wake.Signal()
	return len(b), nil
}

// write is the conn's goroutine. It ends when the connection fails, or when it is
// closed and all bytes are written.
func (c *conn) write() {
	defer c.owner.remove(c)
	defer func() { _ = c.Conn.Close() }() // the connection has ended either way
	var spare []byte
	for {
		c.mu.Lock()
		for len(c.buf) == 0 && !c.closed && c.err == nil {
			c.wake.Wait()
		}
		if c.err != nil || len(c.buf) == 0 {
			c.mu.Unlock()
			return
		}
		out := c.buf
		c.buf = spare[:0]
		c.mu.Unlock()
		if _, err := c.Conn.Write(out); err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		if spare = out; cap(spare) > 64<<10 {
			spare = nil // frees a large buffer after a burst
		}
	}
}

// Close ends reading at once and gives the writer one second to finish. A second
// call returns nil.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed, c.expiring = true, true
	c.wake.Signal()
	return errors.Join(c.Conn.SetReadDeadline(time.Unix(1, 0)), c.Conn.SetWriteDeadline(time.Now().Add(time.Second)))
}

// abort closes the connection at once.
func (c *conn) abort() {
	c.mu.Lock()
	c.closed, c.err = true, net.ErrClosed
	c.wake.Signal()
	c.mu.Unlock()
	_ = c.Conn.Close() // the connection is dropped anyway
}

// expire sets a last deadline.
func (c *conn) expire(deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expiring = true
	_ = c.Conn.SetDeadline(deadline) // fails only if the connection is closed
}

// SetDeadline sets the deadline for reading. Writing has none: the bytes that wait
// are bounded by size. mochi calls it for each packet, with the client's keepalive.
func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expiring {
		return nil
	}
	return errors.Join(c.Conn.SetReadDeadline(t), c.Conn.SetWriteDeadline(time.Time{}))
}
