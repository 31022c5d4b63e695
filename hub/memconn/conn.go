package memconn

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// errCut is the end of a connection that nobody closed.
var errCut = fmt.Errorf("memconn: connection was cut: %w", net.ErrClosed)

// link is one connection: two ends and their streams.
type link struct {
	n           *Network
	node        string
	edge, cloud *Conn

	mu      sync.Mutex
	stalled bool
	err     error // why it ended; nil while it stands
	ended   chan struct{}
	pipes   []*pipe
}

func newLink(n *Network, node string) *link {
	l := &link{n: n, node: node, ended: make(chan struct{})}
	l.edge = &Conn{link: l, peer: hub.Peer{Addr: memAddr("cloud"), Transport: "mem"}, accept: make(chan *stream, n.cfg.Backlog)}
	l.cloud = &Conn{link: l, peer: hub.Peer{Name: node, Addr: memAddr(node), Transport: "mem"}, accept: make(chan *stream, n.cfg.Backlog)}
	l.edge.other, l.cloud.other = l.cloud, l.edge
	return l
}

// end breaks the link; the first reason holds.
func (l *link) end(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	pipes := l.pipes
	l.pipes = nil
	close(l.ended)
	l.mu.Unlock()
	l.n.forget(l)
	for _, p := range pipes {
		p.breakOff(err)
	}
}

func (l *link) stall(on bool) {
	l.mu.Lock()
	l.stalled = on
	pipes := slices.Clone(l.pipes)
	l.mu.Unlock()
	for _, p := range pipes {
		p.stall(on)
	}
}

// reason is why the link ended, or nil.
func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// remove forgets the pipes of a stream that is closed on both sides.
func (l *link) remove(a, b *pipe) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pipes = slices.DeleteFunc(l.pipes, func(p *pipe) bool { return p == a || p == b })
}

// Conn is one end of a connection.
type Conn struct {
	link   *link
	other  *Conn
	peer   hub.Peer
	accept chan *stream
}

// OpenStream opens a stream; the peer accepts it after the network's delay.
func (c *Conn) OpenStream(ctx context.Context) (hub.Stream, error) {
	l := c.link
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return nil, l.err
	}
	there, back := newPipe(l.n, l.stalled), newPipe(l.n, l.stalled)
	l.pipes = append(l.pipes, there, back)
	l.mu.Unlock()
	state := &shared{link: l, there: there, back: back}
	mine := &stream{shared: state, r: back, w: there}
	theirs := &stream{shared: state, r: there, w: back, due: time.Now().Add(l.n.currentDelay())}
	select {
	case c.other.accept <- theirs:
		return mine, nil
	case <-l.ended:
		return nil, l.reason()
	case <-ctx.Done():
		l.remove(there, back)
		return nil, ctx.Err()
	}
}

// AcceptStream waits for a stream of the peer.
func (c *Conn) AcceptStream(ctx context.Context) (hub.Stream, error) {
	select {
	case <-c.link.ended:
		return nil, c.link.reason()
	default:
	}
	select {
	case s := <-c.accept:
		return c.arrived(ctx, s)
	case <-c.link.ended:
		return nil, c.link.reason()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// arrived waits until the stream's first byte could be here.
func (c *Conn) arrived(ctx context.Context, s *stream) (hub.Stream, error) {
	if left := time.Until(s.due); left > 0 {
		select {
		case <-time.After(left):
		case <-c.link.ended:
			return nil, c.link.reason()
		case <-ctx.Done():
			s.Close()
			return nil, ctx.Err()
		}
	}
	return s, nil
}

// Peer says who is at the other end.
func (c *Conn) Peer() hub.Peer { return c.peer }

// Close ends the connection on both sides. Twice is nil.
func (c *Conn) Close() error {
	c.link.end(fmt.Errorf("memconn: connection is closed: %w", net.ErrClosed))
	return nil
}

// shared is what both ends of a stream know.
type shared struct {
	link        *link
	there, back *pipe
	mu          sync.Mutex
	closed      int
}

// stream is one end of a stream.
type stream struct {
	*shared
	r, w *pipe
	due  time.Time // when the acceptor may see it
	once sync.Once
}

func (s *stream) Read(p []byte) (int, error)  { return s.r.read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.w.write(p) }

// CloseWrite lets the peer read to the end.
func (s *stream) CloseWrite() error { return s.w.closeWrite() }

// Close ends both directions: the peer reads what is on its way and then the
// end, and can write no more.
func (s *stream) Close() error {
	s.once.Do(func() {
		_ = s.w.closeWrite()
		s.r.breakOff(fmt.Errorf("memconn: stream is closed: %w", net.ErrClosed))
		s.shared.mu.Lock()
		s.closed++
		both := s.closed == 2
		s.shared.mu.Unlock()
		if both {
			s.link.remove(s.there, s.back)
		}
	})
	return nil
}

// SetDeadline bounds every read and write.
func (s *stream) SetDeadline(t time.Time) error {
	s.r.setReadDeadline(t)
	s.w.setWriteDeadline(t)
	return nil
}
