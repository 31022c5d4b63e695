package hub

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// The memory for calls and streams that a peer opens is bounded in three steps:
//
//  1. The first freeOpening bytes of the opening frame are read without a budget. They
//     name the class, and the call or stream is counted against MaxCalls or MaxStreams.
//  2. If it is within that limit, it reserves the announced size of its frame from the
//     session's budget, and waits for it.
//  3. It then takes from the server's budget as much as really arrives, without waiting.
//
// Both budgets get the bytes back when the call or stream has been served, for a call
// when the peer has read the answer, which counts as well. A call or stream that does
// not get its bytes is answered with CodeExhausted before the rest of its frame is
// read, and may be tried again.

const (
	// freeOpening is how many bytes of an opening frame are read before it has a slot.
	// Nearly all calls and streams are smaller.
	freeOpening = 4 << 10
	// growOpening is the least by which the buffer of a larger one grows.
	growOpening = 64 << 10
	// retryExhausted is when a call that found the server's budget empty may be tried
	// again.
	retryExhausted = time.Second
)

// slot is the place of one call or stream among those that the peer may have.
type slot struct {
	s       *session
	class   wire.Class
	refused *Error // why it has no place; nil if it has one
	session int64  // taken of the session's budget
	server  int64  // taken of the server's
}

// claim counts a call or stream.
func (s *session) claim(c wire.Class) *slot {
	p := &slot{s: s, class: c}
	switch n, most := s.slots(c); {
	case n == nil:
	case int(n.Add(1)) > most:
		n.Add(-1)
		p.class = 0
		p.refused = &Error{Code: CodeExhausted, Text: fmt.Sprintf("more than %d %ss at the same time", most, c)}
	}
	return p
}

// slots returns the counter of a class and its limit; nil for an unknown class.
func (s *session) slots(c wire.Class) (*atomic.Int32, int) {
	switch c {
	case wire.ClassCall:
		return &s.calls, s.limits.MaxCalls
	case wire.ClassStream:
		return &s.streams, s.limits.MaxStreams
	}
	return nil, 0
}

// release gives back all that the slot has.
func (p *slot) release() {
	if n, _ := p.s.slots(p.class); n != nil {
		n.Add(-1)
	}
	if p.session > 0 {
		p.s.bodies().Release(p.session)
	}
	if p.server > 0 {
		p.s.budget.Release(p.server)
	}
}

// reserve takes n bytes of the session's budget, or sets refused.
func (p *slot) reserve(n int) {
	ctx, cancel := context.WithTimeout(p.s.ctx, openWait)
	defer cancel()
	if n > p.s.limits.MaxCallBytes || p.s.bodies().Acquire(ctx, int64(n)) != nil {
		p.refused = &Error{Code: CodeExhausted, Text: fmt.Sprintf(
			"calls and streams of this node hold more than %d bytes: try again when some are done", p.s.limits.MaxCallBytes)}
		return
	}
	p.session = int64(n)
}

// answer takes n bytes of the session's budget for the answer. The opening frame is no
// longer needed by then.
func (p *slot) answer(n int) bool {
	if p.session > 0 {
		p.s.bodies().Release(p.session)
		p.session = 0
	}
	if !p.s.bodies().TryAcquire(int64(n)) {
		return false
	}
	p.session = int64(n)
	return true
}

// arrive takes n bytes of the server's budget, or sets refused.
func (p *slot) arrive(n int) {
	if p.s.budget == nil {
		return
	}
	if !p.s.budget.TryAcquire(int64(n)) {
		p.refused = &Error{Code: CodeExhausted, RetryAfter: retryExhausted,
			Text: "calls and streams of all nodes hold more bytes than this server allows: try again later"}
		return
	}
	p.server += int64(n)
}

// bodies is the session's budget, which is made when it is first needed.
func (s *session) bodies() *semaphore.Weighted {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened == nil {
		s.opened = semaphore.NewWeighted(int64(s.limits.MaxCallBytes))
	}
	return s.opened
}

// readOpen reads the frame that opens a stream, and claims its slot. When that is
// refused, the frame has not been read to its end, and the message has only what
// an answer needs.
func (s *session) readOpen(st Stream, r *wire.Reader) (wire.Open, *slot, error) {
	for {
		n, err := r.Length()
		if err != nil {
			return wire.Open{}, nil, err
		}
		r.Size = n
		b, err := wire.ReadN(r.Buffered(), nil, min(n, freeOpening))
		if err != nil {
			return wire.Open{}, nil, err
		}
		if n > freeOpening {
			return s.readLarge(st, r, b, n)
		}
		f, err := r.Frame(b)
		if err != nil {
			return wire.Open{}, nil, err
		}
		if o, ok := f.(wire.Open); ok {
			return o, s.claim(o.Class), nil
		}
		if f != nil {
			return wire.Open{}, nil, message.Violation("stream opened with %T", f)
		}
	}
}

// readLarge goes on with a frame of n bytes of which b is the beginning.
func (s *session) readLarge(st Stream, r *wire.Reader, b []byte, n int) (o wire.Open, p *slot, err error) {
	head, ok := wire.OpenHead(b)
	if !ok {
		return wire.Open{}, nil, message.Violation("a frame of %d bytes that does not begin with its class", n)
	}
	p = s.claim(head.Class)
	defer func() {
		if err != nil {
			p.release()
			p = nil
		}
	}()
	if p.refused == nil {
		p.reserve(n)
	}
	if p.refused == nil {
		err = st.SetDeadline(time.Now().Add(bodyWait(n))) // it may have waited
	}
	for len(b) < n && p.refused == nil && err == nil {
		if len(b) == cap(b) {
			size := min(n, max(2*cap(b), growOpening))
			if p.arrive(size - cap(b)); p.refused != nil {
				break
			}
			b = wire.Grow(b, size-len(b), n)
		}
		var got int
		got, err = io.ReadFull(r.Buffered(), b[len(b):min(cap(b), n)])
		b = b[:len(b)+got]
	}
	if err != nil || p.refused != nil {
		return head, p, err
	}
	f, err := r.Frame(b)
	if err != nil {
		return wire.Open{}, p, err
	}
	if o, ok = f.(wire.Open); !ok || o.Class != head.Class {
		return wire.Open{}, p, message.Violation("stream opened with %T", f)
	}
	return o, p, nil
}

// newBudget is the memory that the opened calls and streams of all sessions share.
func newBudget(n int64) *semaphore.Weighted {
	if n < 0 {
		n = math.MaxInt64
	}
	return semaphore.NewWeighted(n)
}
