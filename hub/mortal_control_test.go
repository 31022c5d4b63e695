package hub_test

import (
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// controlStream writes frame by frame. It repeats, delays and reorders frames where the
// protocol allows that: acknowledgements of both classes are cumulative, a pong may come
// at any time, and there is no order between events of different sources nor between the
// classes. It also repeats a put, which no connection and no peer of ours does: the
// session must end because of it, without harm.
type controlStream struct {
	*mortalStream
	lock   chan struct{} // guards the rest; a channel, since a bubble's clock does not advance while a goroutine waits for a mutex
	marked bool          // the first marks are out: from now on they acknowledge
	held   [][]byte      // frames that will be late
	gone   bool          // a write failed
}

// heldFor is the longest that a frame is held back.
const heldFor = 40 * time.Millisecond

// Frames by their number in message Frame.
const (
	frameGoAway = 3
	framePong   = 5
	framePut    = 9
	frameAck    = 10
	frameMarks  = 16
	frameEvent  = 17
)

func frameName(n protowire.Number) string {
	names := [...]string{
		1: "hello", 2: "welcome", frameGoAway: "goodbye", 4: "ping", framePong: "pong", 6: "digest", 7: "want", 8: "versions", framePut: "put",
		frameAck: "ack", 11: "nack", 12: "fragment", 13: "cancel", 14: "open", 15: "response", frameMarks: "marks", frameEvent: "event", 18: "refusal", 19: "batch", 20: "opening",
	}
	return names[n]
}

func (s *controlStream) Write(p []byte) (int, error) {
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	out := s.mix(p)
	if len(s.held) > 0 {
		time.AfterFunc(time.Duration(s.life.pick(int(heldFor))), s.release)
	}
	if err := s.writeLocked(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// release writes the frames that were held back.
func (s *controlStream) release() {
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	if out := s.held; !s.gone {
		s.held = nil
		_ = s.writeLocked(out)
	}
}

func (s *controlStream) writeLocked(frames [][]byte) error {
	for _, f := range frames {
		n, _ := frameOf(f)
		s.gone = s.gone || n == frameGoAway
		err := s.life.act(frameName(n), func() error { _, err := s.Stream.Write(f); return err },
			func() { _, _ = s.Stream.Write(f[:s.life.pick(len(f))]) })
		if err != nil {
			s.gone = true
			return err
		}
	}
	return nil
}

// mix cuts p into frames and returns them in another order that the protocol allows.
func (s *controlStream) mix(p []byte) [][]byte {
	var out [][]byte
	for len(p) > 0 {
		size, n := binary.Uvarint(p)
		f := append([]byte(nil), p[:n+int(size)]...)
		p = p[len(f):]
		number, body := frameOf(f)
		switch number {
		case frameMarks:
			if !s.marked {
				s.marked = lastMarks(body)
				break
			}
			fallthrough
		case frameAck, framePong:
			if s.life.chance(4) {
				s.life.deaths.note(&s.life.deaths.sent, "late "+frameName(number))
				s.held = append(s.held, f)
				continue
			}
			if s.life.chance(8) {
				s.life.deaths.note(&s.life.deaths.sent, "twice "+frameName(number))
				s.held = append(s.held, f)
			}
		case frameEvent:
			if last := len(out) - 1; last >= 0 && eventSource(out[last]) != "" && eventSource(out[last]) != eventSource(f) && s.life.chance(2) {
				s.life.deaths.note(&s.life.deaths.sent, "earlier event")
				out = append(out[:last], f, out[last])
				continue
			}
			if s.life.chance(16) {
				s.life.deaths.note(&s.life.deaths.sent, "twice event")
				out = append(out, f)
			}
		case framePut:
			if s.life.chance(200) {
				s.life.deaths.note(&s.life.deaths.sent, "twice put")
				out = append(out, f)
			}
		case frameGoAway: // must be the last frame
			out, s.held = append(out, s.held...), nil
		}
		out = append(out, f)
	}
	return out
}

// frameOf returns a frame's number and its message.
func frameOf(f []byte) (protowire.Number, []byte) {
	_, n := binary.Uvarint(f)
	number, _, tag := protowire.ConsumeTag(f[n:])
	body, _ := protowire.ConsumeBytes(f[n+tag:])
	return number, body
}

// lastMarks reports whether these are the last of the first marks.
func lastMarks(body []byte) bool {
	for len(body) > 0 {
		number, typ, n := protowire.ConsumeTag(body)
		if number == 2 {
			return true
		}
		body = body[n:]
		body = body[protowire.ConsumeFieldValue(number, typ, body):]
	}
	return false
}

// eventSource is the source of an event's frame; empty for other frames.
func eventSource(f []byte) string {
	number, body := frameOf(f)
	for number == frameEvent && len(body) > 0 {
		field, typ, n := protowire.ConsumeTag(body)
		body = body[n:]
		if field == 4 {
			source, _ := protowire.ConsumeString(body)
			return source
		}
		body = body[protowire.ConsumeFieldValue(field, typ, body):]
	}
	return ""
}
