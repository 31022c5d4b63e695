package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// versionLister is the method that Source and Sink share.
type versionLister func(ctx context.Context) (iter.Seq2[Key, string], error)

// workers is what a session does for its machines: each list is worked off by
// goroutines that exist only while it is not empty.
type workers struct {
	loads     []fxLoad
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
		if _, change := ev.(evDigest); !change {
			s.failLocked(violation("%T without a source", ev))
		}
		return
	}
	s.perform(s.send.step(ev))
	if _, compared := ev.(evListed); compared && s.send.compared() {
		s.stats.equal.Add(1)
	}
	pending, landed := s.send.progress()
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
		s.failLocked(violation("state sent to a side that takes none"))
		return
	}
	s.perform(s.recv.step(ev))
}

// perform does the effects of both machines; mu is held, so it only queues.
func (s *session) perform(effects []any) {
	for _, fx := range effects {
		switch fx := fx.(type) {
		case fxList:
			s.spawnLocked(s.list)
		case fxWant:
			s.stats.listed.Add(1)
			s.urgentLocked(want{})
		case fxLoad:
			s.work.loads = append(s.work.loads, fx)
			if s.work.loading < maxLoads {
				s.work.loading++
				s.spawnLocked(s.load)
			}
		case fxPut:
			o := fx.Object
			s.bulkLocked(put{fx.Seq, Message{Operation: fx.Operation, Key: o.Key, Version: o.Version, Body: o.Body}})
		case fxDelivered:
			s.work.delivered = append(s.work.delivered, fx.Objects)
			if !s.work.telling {
				s.work.telling = true
				s.spawnLocked(s.tell)
			}
		case fxRetry:
			s.work.retry = time.AfterFunc(fx.After, func() { s.tellSender(evRetry{}) })
		case fxApply:
			s.spawnLocked(func() { s.apply(fx.Objects) })
		case fxApplyLater:
			s.stats.retried[ofState].Add(1)
			s.work.again = time.AfterFunc(fx.After, func() { s.tellReceiver(evApplyAgain{}) })
		case fxAck:
			s.urgentLocked(ack(fx))
		case fxNack:
			s.urgentLocked(nack(fx))
		case fxDropped:
			s.stats.failed(ofState, fx.Err)
			if untold, tell := s.work.troubles.tell(time.Now(), fx.Err); tell {
				s.log.Warn("object was not delivered", "key", fx.Key.String(), "error", fx.Err, "untold", untold)
			}
		case fxBehind:
			s.stats.behind.Add(1)
			if untold, tell := s.work.troubles.tell(time.Now(), ErrLagging); tell {
				s.log.Warn("the owner stays behind what its peer holds, so that nothing is sent: versions must grow, also when the owner was restarted or restored",
					"key", fx.Key.String(), "peer", clip(fx.Held), "owner", cmp.Or(clip(fx.Version), "cannot tell"), "untold", untold)
			}
		case fxFail:
			s.failLocked(fx.Err)
		}
	}
}

// sendDigest opens the receiving half: it says what the Sink holds.
func (s *session) sendDigest() {
	var d digester
	err := eachVersion(s.ctx, s.sink.Versions, func(k Key, v string) error { d.add(k, v); return nil })
	if err != nil {
		s.fail(fmt.Errorf("hub: list what the sink holds: %w", err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.urgentLocked(digest{d.digest()})
}

// sendVersions answers a want: all that the Sink holds, in small frames.
func (s *session) sendVersions() {
	var part versions
	size := 0
	flush := func(last bool) {
		part.Last = last
		s.mu.Lock()
		s.bulkLocked(part)
		s.mu.Unlock()
		part, size = versions{}, 0
	}
	err := eachVersion(s.ctx, s.sink.Versions, func(k Key, v string) error {
		e := entry{k, v}
		part.Entries = append(part.Entries, e)
		if size += entrySize(e); size > pieceSize/2 {
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
	var d digester
	have := map[Key]string{}
	err := eachVersion(s.ctx, s.source.Versions, func(k Key, v string) error {
		if _, twice := have[k]; !twice {
			d.add(k, v)
			have[k] = v
		}
		return nil
	})
	if err != nil {
		s.fail(fmt.Errorf("hub: list the source: %w", err))
		return
	}
	s.tellSender(evListed{d.digest(), have})
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
		err := s.turns.take(s.ctx, &s.turn)
		if err == nil {
			o, err = s.source.Load(s.ctx, job.Key, job.Held)
			s.turns.give()
		}
		if err != nil && s.ctx.Err() != nil {
			err = ErrLagging // the session ends anyway: no log line
		}
		s.tellSender(evLoaded{job.Key, o, err})
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
		case <-time.After(backoffFor(tries)):
		case <-s.ctx.Done():
			return
		}
	}
}

// apply answers fxApply.
func (s *session) apply(objects []Object) {
	err := s.turns.take(s.ctx, &s.turn)
	if err == nil {
		err = s.sink.Apply(s.ctx, objects)
		s.turns.give()
	}
	if s.ctx.Err() != nil && errors.Is(err, s.ctx.Err()) {
		return
	}
	s.tellReceiver(evApplied{err})
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
