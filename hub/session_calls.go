package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// openWait is how long a stream may be open before its opening frame has come.
const openWait = 10 * time.Second

// slowestBody is the lowest rate, in bytes a second, at which a call or stream must arrive: what a
// slow link carries besides its other traffic.
const slowestBody = 16 << 10

// bodyWait is the time in which the first n bytes of a call or stream must arrive.
func bodyWait(n int) time.Duration {
	return openWait + time.Duration(n)*time.Second/slowestBody
}

// maxOpening is how many streams may be opening beyond the limits on calls and
// streams, so that each gets a typed refusal; more than that are just closed.
const maxOpening = 64

// serving holds the calls and streams of the peer that run here, by message id. It also remembers,
// for a while, cancels that arrived before the call that they cancel.
type serving struct {
	mu       sync.Mutex
	stop     map[uint64]context.CancelFunc
	overtook []uint64
}

const maxOvertook = 64

// begin records that id is being served. It returns false if id was cancelled before it arrived.
func (v *serving) begin(id uint64, stop context.CancelFunc) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, o := range v.overtook {
		if o == id {
			v.overtook = append(v.overtook[:i], v.overtook[i+1:]...)
			return false
		}
	}
	if v.stop == nil {
		v.stop = make(map[uint64]context.CancelFunc)
	}
	v.stop[id] = stop
	return true
}

func (v *serving) end(id uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if delete(v.stop, id); len(v.stop) == 0 {
		v.stop = nil
	}
}

// cancelAll stops all that is being served.
func (v *serving) cancelAll() {
	v.mu.Lock()
	all := slices.Collect(maps.Values(v.stop))
	v.mu.Unlock()
	for _, stop := range all {
		stop()
	}
}

func (v *serving) cancel(id uint64) {
	v.mu.Lock()
	stop := v.stop[id]
	if stop == nil {
		if len(v.overtook) == maxOvertook {
			v.overtook = v.overtook[1:]
		}
		v.overtook = append(v.overtook, id)
	}
	v.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// call asks the peer and waits for its answer.
func (s *session) call(ctx context.Context, m Message) (Message, error) {
	if err := ctx.Err(); err != nil {
		return Message{}, err
	}
	m.Operation = Query
	m.ID = s.ids.Add(1)
	st, err := s.openStream(ctx, wire.Open{Class: wire.ClassCall, Timeout: timeLeft(ctx), Message: m})
	if err != nil {
		return Message{}, err
	}
	defer st.Close()
	stop := onDone(ctx, func() {
		s.cancelPeer(m.ID)
		st.Close()
	})
	defer stop()
	reader := wire.NewReader(st, s.maxFrame(), 0)
	reader.Owned = true
	f, err := reader.Next()
	if err != nil {
		return Message{}, s.interrupted(ctx, err)
	}
	s.stats.received.add(ofCall, 1, reader.Size)
	r, ok := f.(wire.Response)
	if !ok {
		return Message{}, message.Violation("%T in answer to a call", f)
	}
	if r.Message.Error != nil {
		if ctx.Err() != nil { // the far side only says what this side did
			return Message{}, ctx.Err()
		}
		return Message{}, r.Message.Error
	}
	return r.Message, nil
}

// openStream opens a stream of its own for a call or stream.
func (s *session) openStream(ctx context.Context, o wire.Open) (Stream, error) {
	if n := wire.Size(o); n > s.maxFrame() {
		return nil, message.TooLarge(n, s.maxFrame())
	}
	st, err := s.conn.OpenStream(ctx)
	if err != nil {
		return nil, s.offline(ctx, err)
	}
	stop := onDone(ctx, func() { st.Close() })
	defer stop()
	s.announce()
	if err := wire.WriteFrame(st, o, s.maxFrame()); err != nil {
		st.Close()
		return nil, s.interrupted(ctx, err)
	}
	s.stats.sent.add(classOf(o), 1, wire.Size(o))
	return st, nil
}

// cancelPeer sends the peer a cancel for id.
func (s *session) cancelPeer(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.urgentLocked(wire.Cancel{ID: id})
}

// offline is the error of a call that was not sent.
func (s *session) offline(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrOffline, err)
}

// interrupted is the error of a call that was sent, wholly or in part.
func (s *session) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrProtocol) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrInterrupted, err)
}

func timeLeft(ctx context.Context) time.Duration {
	if at, ok := ctx.Deadline(); ok {
		return max(time.Until(at), time.Millisecond)
	}
	return 0
}

// expect makes accept wait for streams that the peer has announced.
func (s *session) expect(streams uint64) {
	if !s.announced {
		return // accept runs anyway
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening += min(streams, maxExpected)
	if s.opening > 0 && !s.accepting {
		s.accepting = true
		s.spawnLocked(s.accept)
	}
}

// maxExpected bounds what one frame announces, so that the count does not
// overflow.
const maxExpected = 1 << 32

// expectsMore counts one announced stream less, and reports whether accept continues.
func (s *session) expectsMore() bool {
	if !s.announced {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening--
	s.accepting = s.opening > 0
	return s.accepting
}

// accept serves the streams that the peer opens, until the connection ends or all announced ones
// have arrived.
func (s *session) accept() {
	most := int32(min(int64(s.limits.MaxCalls)+int64(s.limits.MaxStreams)+maxOpening, 1<<30))
	for more := true; more; more = s.expectsMore() {
		st, err := s.conn.AcceptStream(s.ctx)
		if err != nil {
			s.fail(lost(err))
			return
		}
		if s.inflight.Add(1) > most {
			s.inflight.Add(-1)
			st.Close()
			continue
		}
		s.spawn(func() {
			defer s.inflight.Add(-1)
			defer st.Close()
			s.serveOpened(st)
		})
	}
}

// serveOpened reads what a stream is for and serves it.
func (s *session) serveOpened(st Stream) {
	stop := onDone(s.ctx, func() { st.Close() })
	defer stop()
	if err := st.SetDeadline(time.Now().Add(openWait)); err != nil {
		return
	}
	r := wire.NewReader(st, s.limits.MaxFrame, 0)
	r.Owned = true
	o, slot, err := s.readOpen(st, r)
	if err != nil {
		s.log.Debug("stream was not opened", "err", err)
		return
	}
	defer slot.release()
	if st.SetDeadline(time.Time{}) != nil {
		return
	}
	s.stats.received.add(classOf(o), 1, r.Size)
	ctx, stopWork := context.WithCancel(s.ctx)
	defer stopWork()
	if o.Timeout > 0 {
		var stopTimer context.CancelFunc
		ctx, stopTimer = context.WithTimeout(ctx, o.Timeout)
		defer stopTimer()
	}
	if !s.serve.begin(o.Message.ID, stopWork) {
		return
	}
	defer s.serve.end(o.Message.ID)
	if s.ignoring.Load() { // disconnected, maybe before the line above
		return
	}
	switch o.Class {
	case wire.ClassCall:
		s.serveCall(ctx, o, slot, st)
	case wire.ClassStream:
		s.serveStream(ctx, o, slot.refused, s.newHalf(st, r))
	}
}

func (s *session) serveCall(ctx context.Context, o wire.Open, place *slot, st Stream) {
	answer := Message{Error: place.refused}
	if place.refused == nil {
		answer = s.answer(ctx, o)
	}
	answer = Message{ID: o.Message.ID, Operation: Response, Key: o.Message.Key,
		Version: answer.Version, Body: answer.Body, Error: answer.Error}
	limit := s.maxFrame()
	if n := wire.Size(wire.Response{Message: answer}); n > freeOpening && n <= limit && !place.answer(n) {
		answer.Body = nil
		answer.Error = &Error{Code: CodeExhausted, RetryAfter: retryExhausted, Text: fmt.Sprintf(
			"answers that this node has not read hold more than %d bytes: read them, or ask for less at a time", s.limits.MaxCallBytes)}
	} else if n > limit {
		answer.Body = nil
		answer.Error = &Error{Code: CodeExhausted, Text: fmt.Sprintf("the answer has %d bytes where %d are allowed", n, limit)}
	}
	// A caller that has gone needs no answer, so an error here is not ours.
	if wire.WriteFrame(st, wire.Response{Message: answer}, limit) == nil {
		s.stats.sent.add(ofCall, 1, wire.Size(wire.Response{Message: answer}))
		s.linger(st)
	}
}

// answer passes a call to the mux.
func (s *session) answer(ctx context.Context, o wire.Open) Message {
	m, err := s.mux.ServeCall(ctx, Request{Node: s.node, Message: o.Message})
	if err != nil {
		m = Message{Error: message.ErrorOf(err)}
		if m.Error.Code == CodeUnknown && errors.Is(err, context.DeadlineExceeded) {
			m.Error = &Error{Code: CodeDeadline, Text: "the deadline passed"}
		}
	}
	return m
}

// linger waits until the peer has read everything and closed its side, because Close may overtake
// bytes that are still on their way.
func (s *session) linger(st Stream) {
	if st.CloseWrite() != nil {
		return
	}
	_ = wire.WithBuffer(func(b *[]byte) error {
		for {
			if _, err := st.Read((*b)[:cap(*b)]); err != nil {
				return err
			}
		}
	})
}
