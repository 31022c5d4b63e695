package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// The session's calls to its Source, Sink, Outbox and Inbox. Each runs in a goroutine that ends with the
// call, and passes the result to the machines.

// versionLister is the method that Source and Sink share.
type versionLister func(ctx context.Context) (iter.Seq2[Key, string], error)

// eachVersion walks what a Source or Sink lists.
func eachVersion(ctx context.Context, list versionLister, yield func(Key, string)) error {
	all, err := list(ctx)
	if err != nil {
		return err
	}
	for k, v := range all {
		yield(k, v)
	}
	return ctx.Err()
}

// withPlace calls f when the session has one of the places for work that all nodes share.
func (s *session) withPlace(f func() error) error {
	if err := s.work.Acquire(s.ctx, &s.waiter); err != nil {
		return err
	}
	defer s.work.Release()
	return f()
}

// sendDigest begins the receiving half of state: it sends the peer a digest of the Sink.
func (s *session) sendDigest() {
	var d replica.Digester
	if err := eachVersion(s.ctx, s.sink.Versions, d.Add); err != nil {
		s.fail(fmt.Errorf("hub: list what the sink holds: %w", err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.urgentLocked(wire.Digest{Digest: d.Sum()})
}

// sendVersions answers a want with all that the Sink holds, in small frames.
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
	err := eachVersion(s.ctx, s.sink.Versions, func(k Key, v string) {
		e := message.Entry{Key: k, Version: v}
		part.Entries = append(part.Entries, e)
		if size += wire.EntrySize(e); size > wire.PieceSize/2 {
			flush(false)
		}
	})
	if err != nil {
		s.fail(fmt.Errorf("hub: list what the sink holds: %w", err))
		return
	}
	flush(true)
}

// listSource answers ListSource.
func (s *session) listSource() {
	var d replica.Digester
	have := map[Key]string{}
	err := eachVersion(s.ctx, s.source.Versions, func(k Key, v string) {
		if _, twice := have[k]; !twice {
			d.Add(k, v)
			have[k] = v
		}
	})
	if err != nil {
		s.fail(fmt.Errorf("hub: list the source: %w", err))
		return
	}
	s.stateSend.feed(s, replica.SourceListed{Digest: d.Sum(), Entries: have})
}

// load answers Load.
func (s *session) load(job replica.Load) {
	var o Object
	err := s.withPlace(func() (err error) {
		o, err = s.source.Load(s.ctx, job.Key, job.Held)
		return err
	})
	if err != nil && s.ctx.Err() != nil {
		err = ErrLagging // the session ends anyway: no log line
	}
	s.stateSend.feed(s, replica.Loaded{Key: job.Key, Object: o, Err: err})
}

// reportDelivered passes one delivery on to the Acker.
func (s *session) reportDelivered(objects []Object) {
	s.untilNoted(ofState, func() error { return s.acker.Acked(s.ctx, objects) })
}

// untilNoted calls acked until it succeeds or the session ends. A full disk does not end the link, because
// somebody may use the link to make room. The log has one line at the beginning and one at the end; the
// metric counts.
func (s *session) untilNoted(class int, acked func() error) {
	for tries := 1; ; tries++ {
		err := acked()
		if err == nil && tries > 1 {
			s.log.Info("the acknowledgement could be stored now", "class", classes()[class], "tries", tries)
		}
		if err == nil || s.ctx.Err() != nil {
			return
		}
		s.stats.retried[class].Add(1)
		if tries == 1 {
			s.log.Warn("an acknowledgement could not be stored (not noted); trying again until it is", "class", classes()[class], "err", err)
		}
		select {
		case <-time.After(replica.RetryPause(tries)):
		case <-s.ctx.Done():
			return
		}
	}
}

// apply answers Apply.
func (s *session) apply(objects []Object) {
	err := s.withPlace(func() error { return s.sink.Apply(s.ctx, objects) })
	if s.ctx.Err() != nil && errors.Is(err, s.ctx.Err()) {
		return
	}
	s.stateRecv.feed(s, replica.Applied{Err: err})
}

// sendMarks begins the receiving half of events: it sends the peer the marks of the Inbox.
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
	s.eventRecv.feed(s, replica.OwnMarks{Marks: own})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range parts {
		s.bulkLocked(part)
	}
}

// listSources passes the existing sources of the Outbox to the machine.
func (s *session) listSources() {
	all, err := s.outbox.Sources(s.ctx)
	if err != nil {
		s.fail(fmt.Errorf("hub: list the outbox: %w", err))
		return
	}
	for source := range all {
		s.eventSend.feed(s, replica.Appended{Source: source})
	}
}

// readNext answers ReadNext.
func (s *session) readNext(fx replica.ReadNext) {
	var e Event
	err := s.withPlace(func() (err error) {
		e, err = s.outbox.Next(s.ctx, fx.Source, fx.After)
		return err
	})
	s.eventSend.feed(s, replica.EventRead{Source: fx.Source, Event: e, Err: err})
}

// appendEvents answers AppendEvents.
func (s *session) appendEvents(fx replica.AppendEvents) {
	err := s.withPlace(func() error { return s.inbox.Append(s.ctx, fx.Source, fx.Events) })
	if s.ctx.Err() != nil && errors.Is(err, s.ctx.Err()) {
		return
	}
	s.eventRecv.feed(s, replica.AppendDone{Source: fx.Source, Err: err})
}

// forgetEvents passes the acknowledgements of the peer to the Outbox.
func (s *session) forgetEvents(m replica.ForgetEvents) {
	if m.Presumed {
		s.countPresumed(m.Source, m.ID)
	}
	s.untilNoted(ofEvent, func() error { return s.outbox.Acked(s.ctx, m.Source, m.ID) })
}

// maxPresumed is how many events countPresumed reads at most.
const maxPresumed = 1000

// countPresumed counts and logs the events that the Outbox is about to remove although this session has
// not sent them, because the peer says that it has the source up to id. That is normal after a link that
// ended before the last acknowledgement arrived. But if the Outbox was made again under its old source's
// name, the peer has never seen these events. That is certain if event id itself is not there, because an
// Outbox removes the oldest first.
func (s *session) countPresumed(source string, id uint64) {
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
