package hub

import (
	"errors"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// readOne takes one frame from the control stream and handles it.
func (s *session) readOne() error {
	f, err := s.reader.Next()
	if err != nil {
		if errors.Is(err, ErrProtocol) {
			s.close(wire.GoAway{Kind: wire.GoAwayEnded, Err: &Error{Code: CodeInvalid, Text: err.Error()}})
			return err
		}
		return lost(err)
	}
	s.count(f)
	return s.handle(f)
}

// count counts a frame that arrived. A batch's bytes count for the class of state, which
// most batches carry; its frames are counted when it is unpacked.
func (s *session) count(f wire.Frame) {
	if _, packed := f.(wire.Batch); packed {
		s.stats.received.add(ofState, 0, s.reader.Size)
		return
	}
	s.stats.received.add(classOf(f), 1, s.reader.Size)
}

// handle acts on one frame. The switch is the protocol after the handshake.
func (s *session) handle(f wire.Frame) error {
	if s.ignoring.Load() {
		return nil
	}
	switch f := f.(type) {
	case wire.Ping:
		if f.RoundTrip > 0 {
			s.stats.roundTrip(f.RoundTrip)
		}
		s.mu.Lock()
		s.answerPingLocked(f)
		s.mu.Unlock()
	case wire.Pong:
		s.mu.Lock()
		if f.ID == uint64(s.alive.Pinged.UnixNano()) {
			s.lastRoundTrip = time.Since(s.alive.Pinged)
			s.stats.roundTrip(s.lastRoundTrip)
			s.stats.clock.read(f, s.lastRoundTrip)
		}
		s.mu.Unlock()
	case wire.GoAway:
		return &closedByPeer{f}
	case wire.Cancel:
		s.serve.cancel(f.ID)
	case wire.Opening:
		s.expect(f.Count)
	case wire.Digest:
		s.stateSend.feed(s, replica.PeerDigest{Digest: f.Digest})
	case wire.Want:
		if s.stateRecv.machine == nil {
			return message.Violation("versions asked of a side that holds none")
		}
		s.spawn(s.sendVersions)
	case wire.Versions:
		s.stateSend.feed(s, replica.PeerVersions{Entries: f.Entries, Last: f.Last})
	case wire.Put:
		m := f.Message
		o := Object{Key: m.Key, Version: m.Version, Body: m.Body, Deleted: m.Operation == Delete}
		if f.Trace != nil {
			o.Trace = *f.Trace
		}
		s.stateRecv.feed(s, replica.ObjectReceived{Seq: f.Seq, Object: o, Size: wire.Size(f)})
	case wire.Ack:
		s.stateSend.feed(s, replica.PeerAcked{Seq: f.Seq})
		s.traceAcked(f.Seq)
	case wire.Nack:
		s.stateSend.feed(s, replica.PeerNacked{Seq: f.Seq, Err: f.Err})
		s.traceNacked(f.Seq, f.Err)
	case wire.Marks:
		s.eventSend.feed(s, replica.PeerMarks{Entries: f.Entries, Last: f.Last})
	case wire.Event:
		s.eventRecv.feed(s, replica.EventReceived{Event: f.Event, Size: wire.Size(f)})
	case wire.Batch:
		return s.reader.Unpack(f, func(inner wire.Frame) error {
			s.stats.received.add(classOf(inner), 1, 0)
			return s.handle(inner)
		})
	case wire.Refusal:
		s.eventSend.feed(s, replica.PeerRefused{Source: f.Source, ID: f.ID, Err: f.Err})
	default:
		return message.Violation("%T after the handshake", f)
	}
	return nil
}
