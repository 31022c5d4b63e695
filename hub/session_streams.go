package hub

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// After its opening frame, a stream carries chunks: one byte for the kind, a uvarint length, and that many
// bytes. A clean end is a chunk of its own, so that a stream that was cut off is never taken for one that
// ended.
const (
	chunkData   byte = iota + 1 // payload
	chunkEnd                    // the writer closed its half; no payload
	chunkStatus                 // the handler is done; the payload is an Error, empty for success
)

const (
	maxChunk  = 64 << 10 // written at once; a reader takes any length
	maxStatus = 16 << 10
	// smallChunk is what is written without a buffer from the pool.
	smallChunk     = 1 << 10
	maxChunkHeader = 1 + binary.MaxVarintLen64
)

// half is one side's view of a stream of the stream class.
type half struct {
	st     Stream
	closed func()    // called once, by Close
	stats  *counters // nil counts nothing

	once sync.Once
	done atomic.Bool // the status came, or this is the handler's side and it was sent

	rmu  sync.Mutex
	r    *bufio.Reader
	left uint64 // bytes left of the chunk being read
	rerr error  // what every later Read returns

	wmu  sync.Mutex
	werr error // what every later Write returns
}

// newHalf goes on where the frame reader stopped, if there was one.
func newHalf(st Stream, r *wire.Reader) *half {
	h := &half{st: st}
	if r != nil {
		h.r = r.Buffered()
	} else {
		h.r = bufio.NewReaderSize(st, wire.ReadBuffer)
	}
	return h
}

// newHalf counts the stream's bytes for the session.
func (s *session) newHalf(st Stream, r *wire.Reader) *half {
	h := newHalf(st, r)
	h.stats = s.stats
	return h
}

func (h *half) count(received, sent int) {
	if h.stats != nil {
		h.stats.received.add(ofStream, 0, received)
		h.stats.sent.add(ofStream, 0, sent)
	}
}

// Read returns the peer's bytes. On the opener's side io.EOF means that the handler returned nil, and an
// *Error is the handler's; on the handler's side io.EOF means that the opener closed its half.
func (h *half) Read(p []byte) (int, error) {
	h.rmu.Lock()
	defer h.rmu.Unlock()
	if len(p) == 0 {
		return 0, h.rerr
	}
	for h.left == 0 {
		if h.rerr == nil {
			if err := h.header(); err != nil {
				return 0, err
			}
		}
		if h.rerr != nil {
			return 0, h.rerr
		}
	}
	n, err := h.r.Read(p[:min(uint64(len(p)), h.left)])
	h.left -= uint64(n)
	if n > 0 {
		h.count(n, 0)
		err = nil
	}
	if err != nil {
		err = h.broken(err)
	}
	return n, err
}

// header reads up to the next payload, or sets rerr at the end. A deadline
// loses nothing: what was peeked is still there.
func (h *half) header() error {
	var kind byte
	var n uint64
	for want := 2; ; want++ {
		b, err := h.r.Peek(want)
		if len(b) < want {
			return h.broken(err)
		}
		size, used := binary.Uvarint(b[1:])
		if used > 0 {
			kind, n = b[0], size
			_, _ = h.r.Discard(1 + used)
			break
		}
		if used < 0 || want > binary.MaxVarintLen64 {
			h.rerr = message.Violation("broken chunk")
			return h.rerr
		}
	}
	switch kind {
	case chunkData:
		h.left = n
	case chunkEnd:
		h.rerr = io.EOF
	case chunkStatus:
		h.rerr = h.status(n)
	default:
		h.rerr = message.Violation("chunk of kind %d", kind)
	}
	return nil
}

func (h *half) status(n uint64) error {
	if n > maxStatus {
		return message.Violation("status of %d bytes", n)
	}
	b, err := wire.ReadN(h.r, nil, int(n))
	if err != nil {
		return h.broken(err)
	}
	h.done.Store(true)
	if n == 0 {
		return io.EOF
	}
	var e *Error
	if err := wire.ParseError(&e, b); err != nil {
		return err
	}
	return e
}

// broken distinguishes a deadline, after which the stream can be used again, from the end
// of the stream.
func (h *half) broken(err error) error {
	if t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && t.Timeout() {
		return err
	}
	h.rerr = fmt.Errorf("%w: %w", ErrInterrupted, err)
	return h.rerr
}

// Write sends p in chunks. After a Write that failed the stream can only be
// closed.
func (h *half) Write(p []byte) (int, error) {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	total := 0
	for len(p) > 0 {
		n := min(len(p), maxChunk)
		if err := h.chunk(chunkData, p[:n]); err != nil {
			return total, err
		}
		total += n
		h.count(0, n)
		p = p[n:]
	}
	return total, h.werr
}

func (h *half) chunk(kind byte, p []byte) error {
	if h.werr != nil {
		return h.werr
	}
	if len(p) <= smallChunk {
		// No buffer from the pool, which is a hundred times as large, and is kept
		// for as long as the link is busy: a thousand may write a line at a time.
		return h.sendLocked(make([]byte, 0, len(p)+maxChunkHeader), kind, p)
	}
	return wire.WithBuffer(func(b *[]byte) error {
		*b = slices.Grow(*b, len(p)+maxChunkHeader)
		return h.sendLocked(*b, kind, p)
	})
}

// sendLocked writes a chunk by way of b, which has room for it.
func (h *half) sendLocked(b []byte, kind byte, p []byte) error {
	b = binary.AppendUvarint(append(b, kind), uint64(len(p)))
	if _, err := h.st.Write(append(b, p...)); err != nil {
		h.werr = fmt.Errorf("%w: %w", ErrInterrupted, err)
	}
	return h.werr
}

// CloseWrite tells the peer that no more bytes follow.
func (h *half) CloseWrite() error {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	if h.werr != nil {
		return nil // closed already, in whatever way
	}
	if err := h.chunk(chunkEnd, nil); err != nil {
		return err
	}
	h.werr = io.ErrClosedPipe
	return nil
}

// Close ends both directions; the handler's context ends if it still works.
func (h *half) Close() error {
	h.once.Do(func() {
		if h.closed != nil {
			h.closed()
		}
		h.st.Close()
	})
	return nil
}

// SetDeadline bounds every read and write.
func (h *half) SetDeadline(t time.Time) error { return h.st.SetDeadline(t) }

// finish sends the handler's status and waits until the peer has it.
func (h *half) finish(s *session, err error) {
	h.wmu.Lock()
	if h.werr != nil && errors.Is(h.werr, io.ErrClosedPipe) {
		h.werr = nil // the handler's CloseWrite came before the status
	}
	var b []byte
	if e := message.ErrorOf(err); e != nil {
		b = wire.AppendError(nil, presentable(e))
	}
	failed := h.chunk(chunkStatus, b)
	h.wmu.Unlock()
	if failed == nil {
		s.linger(h.st)
	}
}

// presentable bounds an error's text. It also gives a text to an error that
// has neither that nor a code, since an empty status means success.
func presentable(e *Error) *Error {
	out := *e
	if len(out.Text) > maxStatus/2 {
		out.Text = message.Truncate(out.Text, maxStatus/2)
	}
	if out.Code == CodeUnknown && out.Text == "" {
		out.Text = "failed"
	}
	return &out
}

// openHalf opens a stream of the stream class at the peer.
func (s *session) openHalf(ctx context.Context, m Message) (Stream, error) {
	m.Operation = Query
	m.ID = s.ids.Add(1)
	st, err := s.openStream(ctx, wire.Open{Class: wire.ClassStream, Message: m})
	if err != nil {
		return nil, err
	}
	h := s.newHalf(st, nil)
	h.closed = func() {
		if !h.done.Load() {
			s.cancelPeer(m.ID)
		}
	}
	return h, nil
}

// serveStream passes a stream to the mux and reports how it ended.
func (s *session) serveStream(ctx context.Context, o wire.Open, refused *Error, h *half) {
	// The opener's cancel ends a handler that is blocked in a read or write.
	stop := onDone(ctx, func() { h.st.Close() })
	defer stop()
	var err error
	if refused != nil {
		err = refused
	} else {
		err = s.mux.ServeStream(ctx, Request{Node: s.node, Message: o.Message}, h)
	}
	if ctx.Err() == nil {
		h.finish(s, err)
	}
}
