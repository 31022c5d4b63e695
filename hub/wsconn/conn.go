package wsconn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
	"nhooyr.io/websocket"

	"github.com/edgekit/edgekit/hub"
)

const (
	transport   = "websocket"
	subprotocol = "edgekit.v1"
	// window is how much of one stream may be under way, and is yamux's least.
	window = 256 << 10
	// backlog is how many streams may be opened before the peer accepts one.
	backlog = 128
	// slice is how much of a write goes out before other streams get a turn.
	slice = 32 << 10
	// writeTimeout is yamux's bound on one write to the socket. Half-open
	// links are noticed sooner, by the session's keepalive; slow ones must not
	// be taken for them.
	writeTimeout = 2 * time.Minute
)

// Conn is one multiplexed WebSocket connection. It costs three goroutines,
// which Close waits for.
type Conn struct {
	messages *messages
	mux      *yamux.Session
	peer     hub.Peer
	opening  sync.WaitGroup

	mu     sync.Mutex
	closed bool // no opening.Go from then on
}

func newConn(ws *websocket.Conn, peer hub.Peer, edge bool) (*Conn, error) {
	// One message is one frame of yamux.
	ws.SetReadLimit(window + frameHeader)
	cfg := &yamux.Config{
		AcceptBacklog: backlog, MaxStreamWindowSize: window, ConnectionWriteTimeout: writeTimeout,
		KeepAliveInterval: time.Hour,  // checked but unused: the session has a keepalive of its own
		LogOutput:         io.Discard, // what it would say reaches the caller as errors
	}
	side := yamux.Server
	if edge {
		side = yamux.Client
	}
	m := newMessages(ws)
	mux, err := side(m, cfg)
	if err != nil {
		return nil, fmt.Errorf("wsconn: %w", err)
	}
	return &Conn{messages: m, mux: mux, peer: peer}, nil
}

// OpenStream opens a stream to the peer.
func (c *Conn) OpenStream(ctx context.Context) (hub.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		s   *yamux.Stream
		err error
	}
	// yamux knows no context. A stream that opens too late is closed again.
	opened := make(chan result, 1)
	if !c.spawn(func() {
		s, err := c.mux.OpenStream()
		opened <- result{s, err}
	}) {
		return nil, connError("open stream", yamux.ErrSessionShutdown)
	}
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, connError("open stream", r.err)
		}
		return &stream{s: r.s}, nil
	case <-ctx.Done():
		c.spawn(func() {
			if r := <-opened; r.err == nil {
				_ = r.s.Close()
			}
		})
		return nil, ctx.Err()
	}
}

// AcceptStream waits for a stream of the peer.
func (c *Conn) AcceptStream(ctx context.Context) (hub.Stream, error) {
	s, err := c.mux.AcceptStreamWithContext(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, connError("accept stream", err)
	}
	return &stream{s: s}, nil
}

// Peer says who is at the other end, by its certificate.
func (c *Conn) Peer() hub.Peer { return c.peer }

// Heard is when the last byte arrived, on whatever stream.
func (c *Conn) Heard() time.Time { return time.Unix(0, c.messages.heard.Load()) }

// Close ends the connection at once and waits for its goroutines. Twice is
// nil.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	_ = c.mux.Close() // closes the WebSocket too
	c.opening.Wait()
	return nil
}

// spawn runs f so that Close waits for it, unless the connection is closed.
func (c *Conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.opening.Go(f)
	}
	return !c.closed
}

// connError makes the end of the connection recognizable as such.
func connError(doing string, err error) error {
	return fmt.Errorf("wsconn: %s: %w: %w", doing, net.ErrClosed, err)
}

// stream is one yamux stream.
type stream struct {
	s      *yamux.Stream
	closed atomic.Bool
}

func (s *stream) Read(p []byte) (int, error) {
	if s.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := s.s.Read(p)
	return n, s.error(err)
}

func (s *stream) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		n, err := s.s.Write(p[:min(len(p), slice)])
		total += n
		if err != nil {
			return total, s.error(err)
		}
		p = p[n:]
	}
	return total, nil
}

// CloseWrite is yamux's Close: it ends one direction only.
func (s *stream) CloseWrite() error { return s.s.Close() }

// Close ends this side's two directions. yamux has no reset, so a peer that
// writes on is held up by its window until it closes too.
func (s *stream) Close() error {
	if !s.closed.Swap(true) {
		_ = s.s.Close()
		_ = s.s.SetDeadline(time.Unix(1, 0)) // ends a Read under way
	}
	return nil
}

func (s *stream) SetDeadline(t time.Time) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	return s.s.SetDeadline(t)
}

func (s *stream) error(err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case s.closed.Load():
		return net.ErrClosed
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case errors.Is(err, yamux.ErrStreamClosed):
		return io.ErrClosedPipe
	}
	return connError("stream", err)
}

// Layout of a yamux frame's header: version, type, flags (2 bytes), stream (4),
// length (4).
const (
	frameHeader = 12
	typeData    = 0
)

// messages makes a byte stream of WebSocket messages. yamux writes the header
// and the body of a data frame one after the other; they are sent as one
// message, which saves a TLS record each time.
type messages struct {
	ws     *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	in     io.Reader    // rest of the message being read
	held   []byte       // a header whose body comes next
	heard  atomic.Int64 // when bytes last arrived, Unix nanoseconds
}

func newMessages(ws *websocket.Conn) *messages {
	m := &messages{ws: ws}
	// Not the request's context: the connection outlives its request, and Close
	// is what ends reads and writes.
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

func (m *messages) Read(p []byte) (int, error) {
	for {
		if m.in == nil {
			kind, r, err := m.ws.Reader(m.ctx)
			if err != nil {
				return 0, err
			}
			if kind != websocket.MessageBinary {
				return 0, errors.New("wsconn: text message on a link")
			}
			m.in = r
		}
		n, err := m.in.Read(p)
		if errors.Is(err, io.EOF) {
			m.in, err = nil, nil
		}
		if n > 0 {
			m.heard.Store(time.Now().UnixNano())
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (m *messages) Write(p []byte) (int, error) {
	if len(m.held) == 0 && len(p) == frameHeader && p[1] == typeData && binary.BigEndian.Uint32(p[8:]) > 0 {
		m.held = append(m.held, p...)
		return len(p), nil
	}
	out := p
	if len(m.held) > 0 {
		m.held = append(m.held, p...)
		out = m.held
	}
	err := m.ws.Write(m.ctx, websocket.MessageBinary, out)
	if cap(m.held) > 4<<10 {
		m.held = nil // big writes are rare; the memory is not kept for them
	}
	m.held = m.held[:0]
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (m *messages) Close() error {
	m.cancel()
	err := m.ws.CloseNow()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
