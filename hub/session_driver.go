package hub

import (
	"cmp"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// machine is one of the four pure machines of package replica.
type machine[E any] interface {
	Step(event E) []replica.Effect
}

// role says which half of which class of delivery a machine is.
type role uint8

const (
	stateSender role = iota
	stateReceiver
	eventSender
	eventReceiver
)

// class is the index by which Stats count the half.
func (r role) class() int {
	if r == stateSender || r == stateReceiver {
		return ofState
	}
	return ofEvent
}

// absent is the violation for a frame of a half that this end does not have, or nil. A peer that
// stores state or receives events says so even if this side has none.
func (r role) absent(event any) error {
	switch r {
	case stateReceiver:
		return message.Violation("state sent to a side that takes none")
	case eventReceiver:
		return message.Violation("events sent to a side that takes none")
	}
	switch event.(type) {
	case replica.PeerDigest, replica.PeerMarks:
		return nil
	}
	if r == stateSender {
		return message.Violation("%T without a source", event)
	}
	return message.Violation("%T without an outbox", event)
}

// driver runs one machine for a session: it passes events to the machine and makes the session
// perform the effects. The session's mu guards it.
type driver[E any] struct {
	role    role
	machine machine[E]  // nil if this end does not have the half
	retry   *time.Timer // of the last RetryAfter; nil before the first
	pending int         // what this session has in counters.queued
}

// feed gives one event to the machine and performs the effects.
func (d *driver[E]) feed(s *session, event E) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return
	}
	if d.machine == nil {
		if err := d.role.absent(event); err != nil {
			s.failLocked(err)
		}
		return
	}
	for _, fx := range d.machine.Step(event) {
		if again, ok := fx.(replica.RetryAfter); ok {
			d.retryLocked(s, again.After)
		} else if err := s.perform(fx); err != nil {
			s.failLocked(err)
		}
	}
	d.countLocked(s)
}

// retryLocked passes RetryDue to the machine after the delay. The retries of a receiver are counted
// here, those of a sender where their reason is reported.
func (d *driver[E]) retryLocked(s *session, after time.Duration) {
	if d.role == stateReceiver || d.role == eventReceiver {
		s.stats.retried[d.role.class()].Add(1)
	}
	due, ok := any(replica.RetryDue{}).(E)
	if !ok {
		return // RetryDue is an event of every machine
	}
	s.wg.Add(1)
	d.retry = time.AfterFunc(after, func() {
		defer s.wg.Done()
		d.feed(s, due)
	})
}

// countLocked brings the counters up to date with a sender.
func (d *driver[E]) countLocked(s *session) {
	m, ok := d.machine.(interface {
		Progress() (pending, acked int)
	})
	if !ok {
		return
	}
	pending, acked := m.Progress()
	s.stats.acked[d.role.class()].Add(uint64(acked))
	s.stats.queued[d.role.class()].Add(int64(pending - d.pending))
	d.pending = pending
}

// stopLocked stops the running delay. It is called once, at the end of the session.
func (d *driver[E]) stopLocked(s *session) {
	if d.retry != nil && d.retry.Stop() {
		s.wg.Done()
	}
}

// forgetLocked removes the session's queue from the counters.
func (d *driver[E]) forgetLocked(s *session) {
	s.stats.queued[d.role.class()].Add(-int64(d.pending))
	d.pending = 0
}

// perform performs one effect of any machine except RetryAfter, which the driver performs. mu is
// held, so it only queues. An unknown effect is a fault of this program; TestEveryEffectIsPerformed
// finds it.
func (s *session) perform(fx replica.Effect) error {
	switch fx := fx.(type) {
	case replica.Fail:
		s.failLocked(fx.Err)
	case replica.ListSource:
		s.spawnLocked(s.listSource)
	case replica.ReportEqual:
		s.stats.equal.Add(1)
	case replica.AskVersions:
		s.stats.listed.Add(1)
		s.urgentLocked(wire.Want{})
	case replica.Load:
		s.loads.addLocked(s, fx, replica.MaxLoads, (*session).load)
	case replica.SendObject:
		o := fx.Object
		put := wire.Put{Seq: fx.Seq, Message: Message{Operation: fx.Operation, Key: o.Key, Version: o.Version, Body: o.Body}}
		if o.Trace != "" {
			put.Trace = s.traced.sent(fx.Seq, o)
		}
		s.bulkLocked(put)
	case replica.ReportDelivered:
		s.delivered.addLocked(s, fx.Objects, 1, (*session).reportDelivered)
	case replica.ReportDropped:
		s.stats.failed(ofState, fx.Err)
		if suppressed, ok := s.warnings.allow(time.Now(), fx.Err); ok {
			s.log.Warn("object was not delivered", "key", fx.Key.String(), "err", fx.Err, "suppressed", suppressed)
		}
	case replica.ReportBehind:
		s.stats.behind.Add(1)
		if suppressed, ok := s.warnings.allow(time.Now(), ErrLagging); ok {
			s.log.Warn("the owner's version is older than the peer's, so nothing is sent: versions must grow, also after a restart or a restore",
				"key", fx.Key.String(), "peer", message.Clip(fx.Held), "owner", cmp.Or(message.Clip(fx.Version), "cannot tell"), "suppressed", suppressed)
		}
	case replica.Apply:
		s.spawnLocked(func() { s.apply(fx.Objects) })
	case replica.SendAck:
		s.urgentLocked(wire.Ack(fx))
	case replica.SendNack:
		s.urgentLocked(wire.Nack(fx))
	case replica.ReadNext:
		s.spawnLocked(func() { s.readNext(fx) })
	case replica.SendEvent:
		s.bulkLocked(wire.Event{Event: fx.Event})
	case replica.ForgetEvents:
		s.forgetEventsLocked(fx)
	case replica.AppendEvents:
		s.spawnLocked(func() { s.appendEvents(fx) })
	case replica.SendMark:
		s.urgentLocked(wire.Marks{Entries: []message.Mark{message.Mark(fx)}})
	case replica.SendRefusal:
		s.urgentLocked(wire.Refusal(fx))
	case replica.ReportLost:
		s.stats.failed(ofEvent, fx.Err)
		s.log.Warn("event was not delivered", "source", message.Clip(fx.Source), "id", fx.ID, "err", fx.Err)
	default:
		return fmt.Errorf("hub: effect %T is not performed", fx)
	}
	return nil
}

// forgetEventsLocked queues the acknowledgements for the Outbox, in order. It merges waiting ones of
// one source.
func (s *session) forgetEventsLocked(m replica.ForgetEvents) {
	for i := range s.forget.waiting {
		if w := &s.forget.waiting[i]; w.Source == m.Source && !w.Presumed {
			w.ID = m.ID
			return
		}
	}
	s.forget.addLocked(s, m, 1, (*session).forgetEvents)
}

// jobs are executed in order by goroutines of the session, which exist only while there are jobs. The
// session's mu guards them.
type jobs[T any] struct {
	waiting []T
	running int // goroutines
}

// addLocked queues a job, for one of at most so many goroutines that call do.
func (j *jobs[T]) addLocked(s *session, job T, most int, do func(*session, T)) {
	j.waiting = append(j.waiting, job)
	if j.running < most {
		j.running++
		s.spawnLocked(func() { j.run(s, do) })
	}
}

func (j *jobs[T]) run(s *session, do func(*session, T)) {
	for {
		s.mu.Lock()
		if len(j.waiting) == 0 {
			j.running--
			j.waiting = nil
			s.mu.Unlock()
			return
		}
		job := j.waiting[0]
		j.waiting = j.waiting[1:]
		s.mu.Unlock()
		do(s, job)
	}
}

// logLimiter keeps a fault that is tried again and again, for example while a peer's
// disk is full, from filling the log: it allows so many lines in so long a time, and
// counts the rest.
type logLimiter struct {
	since               time.Time
	allowed, suppressed int
}

const (
	logLines = 10
	logSpan  = 10 * time.Minute
)

// allow reports whether to log a fault now, and how many were suppressed since the last logged one. A
// final fault is always logged, because nothing else reports it.
func (l *logLimiter) allow(now time.Time, err error) (suppressed int, ok bool) {
	if isFinal(err) {
		return 0, true
	}
	if now.Sub(l.since) >= logSpan {
		l.since, l.allowed = now, 0
	}
	if l.allowed >= logLines {
		l.suppressed++
		return 0, false
	}
	suppressed, l.suppressed = l.suppressed, 0
	l.allowed++
	return suppressed, true
}
