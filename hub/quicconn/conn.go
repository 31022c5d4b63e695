package quicconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/edgekit/edgekit/hub"
)

// Application error codes of a connection's end, as the peer sees them.
const (
	codeClosed  quic.ApplicationErrorCode = 0 // closed by its owner
	codeRefused quic.ApplicationErrorCode = 1 // the certificate is not a node's; the text says why
	codeBusy    quic.ApplicationErrorCode = 2 // the backlog is full
)

// codeCancelled is the error code of a stream that its user gave up.
const codeCancelled quic.StreamErrorCode = 0

// Conn is one QUIC connection.
type Conn struct {
	conn *quic.Conn
	peer hub.Peer
	once sync.Once
	done func() // frees what belongs to the connection

	received atomic.Uint64 // bytes that had arrived when heard was last set
	heard    atomic.Int64  // when a stream last brought bytes, Unix nanoseconds; 0 for never
}

// OpenStream opens a stream to the peer.
func (c *Conn) OpenStream(ctx context.Context) (hub.Stream, error) {
	s, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, c.error(ctx, "open stream", err)
	}
	return &stream{s: s, conn: c}, nil
}

// AcceptStream waits for a stream of the peer.
func (c *Conn) AcceptStream(ctx context.Context) (hub.Stream, error) {
	s, err := c.conn.AcceptStream(ctx)
	if err != nil {
		return nil, c.error(ctx, "accept stream", err)
	}
	return &stream{s: s, conn: c}, nil
}

// Peer says who is at the other end, by its certificate.
func (c *Conn) Peer() hub.Peer { return c.peer }

// LastRead is when the last byte arrived, on whatever stream. QUIC's own packets
// do not count: a program that hangs still acknowledges what it is sent.
func (c *Conn) LastRead() time.Time {
	if at := c.heard.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// note counts a read as a sign of life if a packet has arrived since the last one: to
// read bytes that arrived long ago proves nothing.
func (c *Conn) note() {
	now, before := c.conn.ConnectionStats().BytesReceived, c.received.Load()
	if now > before && c.received.CompareAndSwap(before, now) {
		c.heard.Store(time.Now().UnixNano())
	}
}

// Close ends the connection at once. Twice is nil.
func (c *Conn) Close() error {
	c.once.Do(func() {
		_ = c.conn.CloseWithError(codeClosed, "")
		c.done()
	})
	return nil
}

// error makes the end of the connection recognizable as net.ErrClosed, and adds the
// server's reason.
func (c *Conn) error(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("quicconn: %s: %w: %w", doing, net.ErrClosed, refusal(err))
}

// refusal makes an error of a server's refusal, which may arrive only after
// the client's handshake is complete, and a SocketError of a write that notices
// before any read that the socket is closed.
func refusal(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && errors.Is(op.Err, net.ErrClosed) {
		return &SocketError{Addr: op.Source, Err: net.ErrClosed}
	}
	if t, ok := errors.AsType[*quic.TransportError](err); ok && t.Remote && t.ErrorCode.IsCryptoError() {
		if e := hub.CertificateError(uint8(t.ErrorCode)); e != nil { // 0x100 and the alert, RFC 9001 section 4.8
			return e
		}
	}
	app, ok := errors.AsType[*quic.ApplicationError](err)
	if !ok || !app.Remote {
		return err
	}
	switch app.ErrorCode {
	case codeRefused:
		return &hub.Error{Code: hub.CodeForbidden, Text: app.ErrorMessage}
	case codeBusy:
		return &hub.Error{Code: hub.CodeUnavailable, Text: app.ErrorMessage, RetryAfter: busyRetry}
	}
	return err
}

// stream is one QUIC stream.
type stream struct {
	s    *quic.Stream
	conn *Conn

	writing sync.Mutex // held while quic-go writes, which excludes closing
	ended   bool       // no more bytes may be written
	broken  bool       // a write was cut short: its end is no proper one

	mu     sync.Mutex
	closed bool
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.s.Read(p)
	if n > 0 {
		s.conn.note()
	}
	return n, s.error(err)
}

func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.ended {
		return 0, s.error(io.ErrClosedPipe)
	}
	n, err := s.s.Write(p)
	s.broken = s.broken || err != nil
	return n, s.error(err)
}

// CloseWrite waits for a Write under way.
func (s *stream) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.endLocked()
}

func (s *stream) endLocked() error {
	if s.ended {
		return nil
	}
	s.ended = true
	if s.broken {
		s.s.CancelWrite(codeCancelled)
		return nil
	}
	return s.s.Close()
}

// Close gives up reading, and ends writing behind what was written so far: a
// last message and the Close after it both arrive.
func (s *stream) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.s.CancelRead(codeCancelled)
	_ = s.s.SetDeadline(past()) // ends a Read or Write under way
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = s.endLocked() // fails only when the connection is gone
	return nil
}

func (s *stream) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.s.SetDeadline(t)
}

func (s *stream) error(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && !isIdle(err) {
		return err // os.ErrDeadlineExceeded
	}
	if errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	if cancelled, ok := errors.AsType[*quic.StreamError](err); ok && cancelled.Remote {
		return io.ErrClosedPipe // the peer reads no more, or gave the stream up
	}
	return fmt.Errorf("quicconn: stream: %w: %w", net.ErrClosed, refusal(err))
}

// isIdle reports whether quic-go ended the connection because it was silent: that is a
// time-out too, but not the time-out of a deadline.
func isIdle(err error) bool {
	_, ok := errors.AsType[*quic.IdleTimeoutError](err)
	return ok
}
