package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// versionLister is the method that Source and Sink share.
type versionLister func(ctx context.Context) (iter.Seq2[Key, string], error)

// workers is what a session does for its machines: each list is worked off by
// goroutines that exist only while it is not empty.
type workers struct {
	loads     []replica.Load
	loading   int // goroutines
	delivered [][]Object
	telling   bool // a goroutine tells the Acker
	retry     *time.Timer
	again     *time.Timer
	troubles  troubles
}

// troubles keeps what is tried again and again, as while a peer's disk is full,
// from filling the log: so many lines in so long a time, and a count of the rest.
type troubles struct {
	since        time.Time
	told, untold int
}

const (
	troubleLines = 10
	troubleSpan  = 10 * time.Minute
)

// tell reports whether to log a fault now, and how many were not since the last
// that was. One that is final is always told: nothing else will.
func (t *troubles) tell(now time.Time, err error) (untold int, tell bool) {
	if e, typed := errors.AsType[*Error](err); typed && e.Final() {
		return 0, true
	}
	if now.Sub(t.since) >= troubleSpan {
		t.since, t.told = now, 0
	}
	if t.told >= troubleLines {
		t.untold++
		return 0, false
	}
	untold, t.untold = t.untold, 0
	t.told++
	return untold, true
}

func (w *workers) stopTimers() {
	for _, t := range []*time.Timer{w.retry, w.again} {
		if t != nil {
			t.Stop()
		}
	}
}

// tellSender gives an event to the sender and does what it asks for.
func (s *session) tellSender(ev any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return
	}
	if s.send == nil {
		// The peer compares what it holds, but nothing here owns state.
		if _, change := ev.(replica.PeerDigest); !change {
			s.failLocked(message.Violation("%T without a source", ev))
		}
		return
	}
	s.perform(s.send.Step(ev))
	if _, compared := ev.(replica.SourceListed); compared && s.send.Compared() {
		s.stats.equal.Add(1)
	}
	pending, landed := s.send.Progress()
	s.stats.acked[ofState].Add(uint64(landed))
	s.stats.queued[ofState].Add(int64(pending - s.depth.state))
	s.depth.state = pending
}

// tellReceiver gives an event to the receiver and does what it asks for.
func (s *session) tellReceiver(ev any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return
	}
	if s.recv == nil {
		s.failLocked(message.Violation("state sent to a side that takes none"))
		return
	}
	s.perform(s.recv.Step(ev))
}

// perform does the effects of both machines; mu is held, so it only queues.
func (s *session) perform(effects []any) {
	for _, fx := range effects {
		switch fx := fx.(type) {
		case replica.ListSource:
			s.spawnLocked(s.list)
		case replica.AskVersions:
			s.stats.listed.Add(1)
			s.urgentLocked(wire.Want{})
		case replica.Load:
			s.work.loads = append(s.work.loads, fx)
			if s.work.loading < replica.MaxLoads {
				s.work.loading++
				s.spawnLocked(s.load)
			}
		case replica.SendObject:
			o := fx.Object
			s.bulkLocked(wire.Put{Seq: fx.Seq, Message: Message{Operation: fx.Operation, Key: o.Key, Version: o.Version, Body: o.Body}})
		case replica.ReportDelivered:
			s.work.delivered = append(s.work.delivered, fx.Objects)
			if !s.work.telling {
				s.work.telling = true
				s.spawnLocked(s.tell)
			}
		case replica.RetryAfter:
			s.work.retry = time.AfterFunc(fx.After, func() { s.tellSender(replica.RetryDue{}) })
		case replica.Apply:
			s.spawnLocked(func() { s.apply(fx.Objects) })
		case replica.ApplyAfter:
			s.stats.retried[ofState].Add(1)
			s.work.again = time.AfterFunc(fx.After, func() { s.tellReceiver(replica.ApplyDue{}) })
		case replica.SendAck:
			s.urgentLocked(wire.Ack(fx))
		case replica.SendNack:
			s.urgentLocked(wire.Nack(fx))
		case replica.ReportDropped:
			s.stats.failed(ofState, fx.Err)
			if untold, tell := s.work.troubles.tell(time.Now(), fx.Err); tell {
				s.log.Warn("object was not delivered", "key", fx.Key.String(), "error", fx.Err, "untold", untold)
			}
		case replica.ReportBehind:
			s.stats.behind.Add(1)
			if untold, tell := s.work.troubles.tell(time.Now(), ErrLagging); tell {
				s.log.Warn("the owner stays behind what its peer holds, so that nothing is sent: versions must grow, also when the owner was restarted or restored",
					"key", fx.Key.String(), "peer", message.Clip(fx.Held), "owner", cmp.Or(message.Clip(fx.Version), "cannot tell"), "untold", untold)
			}
		case replica.Fail:
			s.failLocked(fx.Err)
		}
	}
}

// sendDigest opens the receiving half: it says what the Sink holds.
func (s *session) sendDigest() {
	var d replica.Digester
	err := eachVersion(s.ctx, s.sink.Versions, func(k Key, v string) error { d.Add(k, v); return nil })
	if err != nil {
		s.fail(fmt.Errorf("hub: list what the sink holds: %w", err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.urgentLocked(wire.Digest{Digest: d.Sum()})
}

// sendVersions answers a want: all that the Sink holds, in small frames.
func (s *session) sendVersions() {
	var part wire.Versions
	size := 0
	flush := func(last bool) {
		part.Last = last
		s.mu.Lock()
		s.bulkLocked(part)
		s.mu.Unlock()
		part, size = wire.Versions{}, 0
	}
	err := eachVersion(s.ctx, s.sink.Versions, func(k Key, v string) error {
		e := message.Entry{Key: k, Version: v}
		part.Entries = append(part.Entries, e)
		if size += wire.EntrySize(e); size > wire.PieceSize/2 {
			flush(false)
		}
		return nil
	})
	if err != nil {
		s.fail(fmt.Errorf("hub: list what the sink holds: %w", err))
		return
	}
	flush(true)
}

// list answers fxList.
func (s *session) list() {
	var d replica.Digester
	have := map[Key]string{}
	err := eachVersion(s.ctx, s.source.Versions, func(k Key, v string) error {
		if _, twice := have[k]; !twice {
			d.Add(k, v)
			have[k] = v
		}
		return nil
	})
	if err != nil {
		s.fail(fmt.Errorf("hub: list the source: %w", err))
		return
	}
	s.tellSender(replica.SourceListed{Digest: d.Sum(), Entries: have})
}

// load answers fxLoad until none is left.
func (s *session) load() {
	for {
		s.mu.Lock()
		if len(s.work.loads) == 0 {
			s.work.loading--
			s.work.loads = nil
			s.mu.Unlock()
			return
		}
		job := s.work.loads[0]
		s.work.loads = s.work.loads[1:]
		s.mu.Unlock()
		var o Object
		err := s.turns.Acquire(s.ctx, &s.turn)
		if err == nil {
			o, err = s.source.Load(s.ctx, job.Key, job.Held)
			s.turns.Release()
		}
		if err != nil && s.ctx.Err() != nil {
			err = ErrLagging // the session ends anyway: no log line
		}
		s.tellSender(replica.Loaded{Key: job.Key, Object: o, Err: err})
	}
}

// tell passes deliveries on to the Acker, in order.
func (s *session) tell() {
	for {
		s.mu.Lock()
		if len(s.work.delivered) == 0 {
			s.work.telling = false
			s.work.delivered = nil
			s.mu.Unlock()
			return
		}
		batch := s.work.delivered[0]
		s.work.delivered = s.work.delivered[1:]
		s.mu.Unlock()
		s.note(ofState, func() error { return s.acker.Acked(s.ctx, batch) })
	}
}

// note has an acknowledgement noted by whoever must know of it, and tries again
// for as long as the session stands: a full disk does not end the link, by which
// somebody may make room on it. The log has one line when that begins, and one
// when it is over; the metric counts.
func (s *session) note(class int, acked func() error) {
	for tries := 1; ; tries++ {
		err := acked()
		if err == nil && tries > 1 {
			s.log.Info("what the peer has is noted now", "class", classes()[class], "tries", tries)
		}
		if err == nil || s.ctx.Err() != nil {
			return
		}
		s.stats.retried[class].Add(1)
		if tries == 1 {
			s.log.Warn("what the peer has is not noted yet; trying again until it is", "class", classes()[class], "error", err)
		}
		select {
		case <-time.After(replica.RetryPause(tries)):
		case <-s.ctx.Done():
			return
		}
	}
}

// apply answers fxApply.
func (s *session) apply(objects []Object) {
	err := s.turns.Acquire(s.ctx, &s.turn)
	if err == nil {
		err = s.sink.Apply(s.ctx, objects)
		s.turns.Release()
	}
	if s.ctx.Err() != nil && errors.Is(err, s.ctx.Err()) {
		return
	}
	s.tellReceiver(replica.Applied{Err: err})
}

// eachVersion walks what a Source or Sink lists.
func eachVersion(ctx context.Context, list versionLister, yield func(Key, string) error) error {
	all, err := list(ctx)
	if err != nil {
		return err
	}
	for k, v := range all {
		if err := yield(k, v); err != nil {
			return err
		}
	}
	return ctx.Err()
}
