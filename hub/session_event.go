package hub

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// eventWorkers is what a session does for the machines of the event class, by
// goroutines that exist only while there is something to do.
type eventWorkers struct {
	forget     []replica.ForgetEvents // for the Outbox
	forgetting bool                   // a goroutine is at it
	read       *time.Timer
	take       *time.Timer
}

func (w *eventWorkers) stopTimers() {
	for _, t := range []*time.Timer{w.read, w.take} {
		if t != nil {
			t.Stop()
		}
	}
}

// tellEventSender gives an event to the machine and does what it asks for.
func (s *session) tellEventSender(ev any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return
	}
	if s.esend == nil {
		// The peer tells its marks, but nothing here has events.
		if _, told := ev.(replica.PeerMarks); !told {
			s.failLocked(message.Violation("%T without an outbox", ev))
		}
		return
	}
	s.performEvents(s.esend.Step(ev))
	pending, landed := s.esend.Progress()
	s.stats.acked[ofEvent].Add(uint64(landed))
	s.stats.queued[ofEvent].Add(int64(pending - s.depth.event))
	s.depth.event = pending
}

// tellEventReceiver gives an event to the machine and does what it asks for.
func (s *session) tellEventReceiver(ev any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return
	}
	if s.erecv == nil {
		s.failLocked(message.Violation("events sent to a side that takes none"))
		return
	}
	s.performEvents(s.erecv.Step(ev))
}

// performEvents does the effects of both machines; mu is held, so it only
// queues.
func (s *session) performEvents(effects []any) {
	for _, fx := range effects {
		switch fx := fx.(type) {
		case replica.ReadNext:
			s.spawnLocked(func() { s.readNext(fx) })
		case replica.SendEvent:
			s.bulkLocked(wire.Event{Event: fx.Event})
		case replica.ForgetEvents:
			s.forgetLocked(fx)
		case replica.ReadAfter:
			s.events.read = time.AfterFunc(fx.After, func() { s.tellEventSender(replica.ReadDue{}) })
		case replica.AppendEvents:
			s.spawnLocked(func() { s.take(fx) })
		case replica.AppendAfter:
			s.stats.retried[ofEvent].Add(1)
			s.events.take = time.AfterFunc(fx.After, func() { s.tellEventReceiver(replica.AppendDue{}) })
		case replica.SendMark:
			s.urgentLocked(wire.Marks{Entries: []message.Mark{message.Mark(fx)}})
		case replica.SendRefusal:
			s.urgentLocked(wire.Refusal(fx))
		case replica.ReportLost:
			s.stats.failed(ofEvent, fx.Err)
			s.log.Warn("event was not delivered", "source", message.Clip(fx.Source), "id", fx.ID, "error", fx.Err)
		case replica.Fail:
			s.failLocked(fx.Err)
		}
	}
}

// sendMarks opens the receiving half: it says what the Inbox has.
func (s *session) sendMarks() {
	own := make(map[string]uint64)
	all, err := s.inbox.Marks(s.ctx)
	if err != nil {
		s.fail(fmt.Errorf("hub: list the inbox's marks: %w", err))
		return
	}
	for source, id := range all {
		own[source] = max(own[source], id)
	}
	parts := []wire.Marks{{}}
	size := 0
	for source, id := range own {
		m := message.Mark{Source: source, ID: id}
		last := &parts[len(parts)-1]
		last.Entries = append(last.Entries, m)
		if size += wire.MarkSize(m); size > wire.PieceSize/2 {
			parts, size = append(parts, wire.Marks{}), 0
		}
	}
	parts[len(parts)-1].Last = true
	s.tellEventReceiver(replica.OwnMarks{Marks: own})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range parts {
		s.bulkLocked(part)
	}
}

// listSources has the machine look at what the Outbox has already.
func (s *session) listSources() {
	all, err := s.outbox.Sources(s.ctx)
	if err != nil {
		s.fail(fmt.Errorf("hub: list the outbox: %w", err))
		return
	}
	for source := range all {
		s.tellEventSender(replica.Appended{Source: source})
	}
}

// readNext answers fxRead.
func (s *session) readNext(fx replica.ReadNext) {
	var e Event
	err := s.turns.Acquire(s.ctx, &s.turn)
	if err == nil {
		e, err = s.outbox.Next(s.ctx, fx.Source, fx.After)
		s.turns.Release()
	}
	s.tellEventSender(replica.EventRead{Source: fx.Source, Event: e, Err: err})
}

// take answers fxTake.
func (s *session) take(fx replica.AppendEvents) {
	err := s.turns.Acquire(s.ctx, &s.turn)
	if err == nil {
		err = s.inbox.Append(s.ctx, fx.Source, fx.Events)
		s.turns.Release()
	}
	if s.ctx.Err() != nil && errors.Is(err, s.ctx.Err()) {
		return
	}
	s.tellEventReceiver(replica.AppendDone{Source: fx.Source, Err: err})
}

// forgetLocked has the Outbox told, in order; what comes meanwhile for one
// source is told as one.
func (s *session) forgetLocked(m replica.ForgetEvents) {
	w := &s.events
	for i := range w.forget {
		if w.forget[i].Source == m.Source && !w.forget[i].Presumed {
			w.forget[i].ID = m.ID
			return
		}
	}
	w.forget = append(w.forget, m)
	if !w.forgetting {
		w.forgetting = true
		s.spawnLocked(s.forget)
	}
}

func (s *session) forget() {
	for {
		s.mu.Lock()
		if len(s.events.forget) == 0 {
			s.events.forgetting, s.events.forget = false, nil
			s.mu.Unlock()
			return
		}
		m := s.events.forget[0]
		s.events.forget = s.events.forget[1:]
		s.mu.Unlock()
		if m.Presumed {
			s.presume(m.Source, m.ID)
		}
		s.note(ofEvent, func() error { return s.outbox.Acked(s.ctx, m.Source, m.ID) })
	}
}

// maxPresumed is how many events presume reads at most.
const maxPresumed = 1000

// presume counts and logs the events that the Outbox is about to forget although
// this session has not sent them: the peer says that it has the source up to id.
// So it is when a link ended before the last acknowledgement came. But if the
// Outbox was made anew under its old source's name, they are events that the peer
// has never seen. Where event id itself is not there, that is certain: an Outbox
// forgets the oldest first.
func (s *session) presume(source string, id uint64) {
	count, certain := 0, true
	for after := uint64(0); count < maxPresumed; count++ {
		e, err := s.outbox.Next(s.ctx, source, after)
		if err != nil || e.ID > id || e.ID <= after {
			break
		}
		after = e.ID
	}
	if count == 0 {
		return
	}
	if last, err := s.outbox.Next(s.ctx, source, id-1); err == nil && last.ID == id || err != nil && !errors.Is(err, io.EOF) {
		certain = false
	}
	s.stats.presumed.Add(uint64(count))
	if certain {
		s.log.Error("events are lost: their ids were used before, and the peer has them; an outbox that is made anew must give its source a new name",
			"source", message.Clip(source), "events", count, "peer", id)
		return
	}
	s.log.Info("events were not sent since the peer has them; if the outbox was made anew, its source needs a new name",
		"source", message.Clip(source), "events", count, "peer", id)
}
