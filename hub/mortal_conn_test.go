package hub_test

import (
	"context"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
)

type mortalDialer struct {
	hub.Dialer
	*life
}

func (d mortalDialer) Dial(ctx context.Context) (hub.Conn, error) {
	c, err := take(d.life, "dial", func() (hub.Conn, error) { return d.Dialer.Dial(ctx) })
	if c == nil {
		return nil, err
	}
	return d.life.own(c, err)
}

type mortalListener struct {
	*memconn.Network
	*life
}

func (n mortalListener) Accept(ctx context.Context) (hub.Conn, error) {
	c, err := n.Network.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return n.life.own(c, nil)
}

// own makes a connection the program's, if it still lives.
func (l *life) own(c hub.Conn, err error) (hub.Conn, error) {
	mine := &mortalConn{Conn: c, life: l}
	l.mu.Lock()
	l.conns = append(l.conns, mine)
	dead := l.dead
	l.mu.Unlock()
	if dead {
		mine.part(l.doom.manner)
		return mine, nil // it behaves as if the peer had vanished
	}
	return mine, err
}

// mortalConn is a connection that ends with its program.
type mortalConn struct {
	hub.Conn
	life *life

	mu      sync.Mutex
	gone    bool
	streams []hub.Stream
}

// part shows a death to the other side, in the given manner. Calls that wait on streams
// of this side return.
func (c *mortalConn) part(m manner) {
	c.mu.Lock()
	c.gone = true
	streams := c.streams
	c.mu.Unlock()
	if m == cutOff {
		c.Conn.Close()
	}
	for _, s := range streams {
		if m == finished {
			s.Close()
		}
		_ = s.SetDeadline(time.Unix(1, 0))
	}
}

func (c *mortalConn) Close() error {
	if c.life.isDead() {
		return nil
	}
	return c.Conn.Close()
}

func (c *mortalConn) OpenStream(ctx context.Context) (hub.Stream, error) {
	s, err := take(c.life, "open a stream", func() (hub.Stream, error) { return c.Conn.OpenStream(ctx) })
	if err != nil {
		return nil, err
	}
	return c.own(s)
}

func (c *mortalConn) AcceptStream(ctx context.Context) (hub.Stream, error) {
	s, err := c.Conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return c.own(s)
}

// own makes a stream the program's. The first of a connection carries frames; some of the
// others are late, so that they arrive in another order than they were opened in.
func (c *mortalConn) own(s hub.Stream) (hub.Stream, error) {
	late := time.Duration(0)
	if c.life.chance(4) {
		late = time.Duration(c.life.pick(30)) * time.Millisecond
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, errDead
	}
	c.streams = append(c.streams, s)
	mortal := &mortalStream{Stream: s, life: c.life}
	if len(c.streams) == 1 {
		return &controlStream{mortalStream: mortal, lock: make(chan struct{}, 1)}, nil
	}
	mortal.late = late
	return mortal, nil
}

type mortalStream struct {
	hub.Stream
	life *life
	late time.Duration // of what is read first; used by the reader alone
}

func (s *mortalStream) Read(p []byte) (int, error) {
	if s.late > 0 {
		<-time.After(s.late)
		s.late = 0
	}
	n, err := s.Stream.Read(p)
	if s.life.isDead() {
		return 0, errDead
	}
	return n, err
}

func (s *mortalStream) Write(p []byte) (n int, err error) {
	err = s.life.act("write", func() (err error) { n, err = s.Stream.Write(p); return err }, func() { _, _ = s.Stream.Write(p[:len(p)/2]) })
	return n, err
}

func (s *mortalStream) CloseWrite() error {
	return s.life.act("close a stream's half", s.Stream.CloseWrite, nil)
}

func (s *mortalStream) Close() error {
	if s.life.isDead() {
		return nil
	}
	return s.Stream.Close()
}

func (s *mortalStream) SetDeadline(t time.Time) error {
	if s.life.isDead() {
		return errDead
	}
	return s.Stream.SetDeadline(t)
}
