package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/meta"
)

// Bounds of what is noted late: a kill sends it again.
const (
	flushAfter = 250 * time.Millisecond
	flushCount = 1000 // records
)

// outage is how long a batch is with its sink before that counts as away.
const outage = 10 * time.Second

// maxAside is how many damaged records are kept for somebody to look at.
const maxAside = 256

// batch is what Take gives: the events of some records.
type batch struct {
	events []pipeline.Event
	bytes  int
	parts  []part
	since  time.Time // when the oldest was stored
	taken  time.Time // when Take gave it first
	again  bool      // Take gave it more than once
}

// part is the events of one record in a batch.
type part struct {
	number uint64
	stored stored
	to     int // events of the record that are done when the batch is
}

// Take waits for the next batch; see pipeline.Queue. Events of the backlog, and those that it
// gives a second time, have Resend set.
func (q *queue) Take(ctx context.Context) (pipeline.Batch, error) {
	for {
		select {
		case <-q.done:
			return pipeline.Batch{}, q.errClosed()
		default:
		}
		if err := q.load(ctx); err != nil {
			return pipeline.Batch{}, err
		}
		if ctx.Err() != nil {
			q.noteFailure(q.flush(context.WithoutCancel(ctx))) // what was sent is noted even at the end
			return pipeline.Batch{}, context.Cause(ctx)
		}
		if b := q.current; b != nil {
			b.again = true
			for i := range b.events {
				b.events[i].Resend = true
			}
			return b.give(), nil
		}
		b, wait, err := q.choose(ctx)
		if ctx.Err() != nil && b == nil {
			continue
		}
		if err != nil {
			return pipeline.Batch{}, err
		}
		if b != nil {
			b.taken, q.current = q.clock.Now(), b
			if clockSet(b.taken) && !clockSet(b.since) {
				b.since = b.taken
			}
			return b.give(), nil
		}
		if err := q.idle(ctx, wait); err != nil {
			return pipeline.Batch{}, err
		}
	}
}

func (b *batch) give() pipeline.Batch {
	return pipeline.Batch{Events: b.events, Since: b.since, Token: b}
}

// idle notes what was sent and waits for events, or until the live ones have lingered. It ends
// with an error only if the queue is closed.
func (q *queue) idle(ctx context.Context, wait time.Duration) error {
	q.noteFailure(q.flush(context.WithoutCancel(ctx)))
	if q.unnoted && (wait == 0 || wait > time.Second) {
		wait = time.Second
	}
	q.opened = opened{} // not needed before more comes
	var over <-chan time.Time
	if wait > 0 {
		timer := q.clock.NewTimer(wait)
		defer timer.Stop()
		over = timer.C()
	}
	select {
	case <-q.wake:
		return nil
	case <-over:
		return nil
	case <-q.done:
		return q.errClosed()
	case <-ctx.Done():
		return nil // Take sees it
	}
}

// choose makes the next batch: so many of live events for each of the backlog. Without one,
// wait is how long the live events still linger; 0 means that there are none.
func (q *queue) choose(ctx context.Context) (b *batch, wait time.Duration, err error) {
	q.mu.Lock()
	first, some := q.state.pending.next(0)
	split, end := q.state.split, q.state.next
	q.mu.Unlock()
	backlog := some && first < split
	if q.liveRun < q.set.live || !backlog {
		if q.filling == nil || len(q.filling.parts) > 0 && q.filling.parts[0].number < split { // a replay made a backlog of it
			q.filling = &batch{}
		}
		if err := q.fill(ctx, q.filling, span{split, end}); err != nil {
			return nil, 0, err
		}
		if f := q.filling; len(f.events) > 0 {
			if wait = q.set.linger - q.clock.Now().Sub(f.since); wait <= 0 || f.full(q.set.batch) {
				q.filling = nil
				q.liveRun++
				return f, 0, nil
			}
		}
	}
	if !backlog {
		return nil, wait, nil
	}
	b = &batch{}
	if err := q.fill(ctx, b, span{0, split}); err != nil {
		return nil, 0, err
	}
	q.liveRun = 0
	if len(b.events) == 0 { // all of it was too old or damaged
		return nil, wait, nil
	}
	for i := range b.events {
		b.events[i].Resend = true
	}
	return b, 0, nil
}

func (b *batch) full(events int) bool { return len(b.events) >= events || b.bytes >= batchBytes }

// fill adds the events of records that wait, within which, until the batch is full. What is too
// old is dropped; what is damaged is set aside.
func (q *queue) fill(ctx context.Context, b *batch, which span) error {
	from := which.from
	if n := len(b.parts); n > 0 {
		from = max(from, b.parts[n-1].number+1)
	}
	for !b.full(q.set.batch) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		q.mu.Lock()
		n, ok := q.state.pending.next(from)
		skip := q.state.taken[n]
		q.mu.Unlock()
		if !ok || n >= which.to {
			return nil
		}
		from = n + 1
		d, cost, events, raw, err := q.open(ctx, n)
		if err != nil && !errors.Is(err, errDamaged) {
			return err
		}
		switch {
		case err != nil:
			if err := q.setAside(ctx, n, cost, raw); err != nil {
				return err
			}
			continue
		case d == nil:
			q.finish(n, stored{}, 0)
			continue
		case q.ageOf(d) > q.set.maxAge:
			q.finish(n, stored{cost, int64(d.count)}, d.count-skip)
			continue
		}
		b.add(n, d, cost, events, skip, q.set.batch)
		q.mu.Lock()
		if first, ok := q.state.pending.next(0); ok && first == n {
			q.oldest = d.stored
		}
		q.mu.Unlock()
	}
	return nil
}

// open is get with the events. It keeps the last result: a large record is taken in several
// batches.
func (q *queue) open(ctx context.Context, n uint64) (d *record, cost int64, events []pipeline.Event, raw []byte, err error) {
	if o := &q.opened; o.record != nil && o.number == n {
		return o.record, o.cost, o.events, nil, nil
	}
	d, cost, raw, err = q.get(ctx, n)
	if err != nil || d == nil {
		return d, cost, nil, raw, err
	}
	if events, err = d.events(); err == nil {
		d.body = nil
		q.opened = opened{n, d, cost, events}
	}
	return d, cost, events, raw, err
}

// add adds events of a record from skip on, as many as there is room for.
func (b *batch) add(n uint64, d *record, cost int64, events []pipeline.Event, skip, limit int) {
	if len(b.events) == 0 || d.stored.Before(b.since) {
		b.since = d.stored
	}
	to := min(skip, len(events))
	for to < len(events) && !b.full(limit) {
		b.bytes += events[to].Size()
		b.events = append(b.events, events[to])
		to++
	}
	b.parts = append(b.parts, part{n, stored{cost, int64(d.count)}, to})
}

// finish removes a record that will not be sent, with so many events that are dropped by it.
func (q *queue) finish(n uint64, s stored, dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.state.forget(n, s) {
		return
	}
	q.dropped += int64(dropped)
	if s.cost > 0 { // else there is none in the store
		q.doneLocked(n)
	} else {
		q.touchLocked()
	}
}

// doneLocked has the record removed from the store with the next flush.
func (q *queue) doneLocked(n uint64) {
	q.removed = append(q.removed, n)
	q.touchLocked()
	q.freedLocked()
}

// touchLocked says that the stored state is behind.
func (q *queue) touchLocked() {
	if q.dirty.IsZero() {
		q.dirty = q.clock.Now()
	}
}

// setAside moves a damaged record out of the way, for somebody to look at. Of many, only the
// first are kept.
func (q *queue) setAside(ctx context.Context, n uint64, cost int64, raw []byte) error {
	have, _, err := q.store.Keys(ctx, q.prefix+"x/")
	if err != nil {
		return fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	ops := []meta.Op{{Key: q.dataKey(n), Delete: true}}
	if len(have) < maxAside {
		ops = append(ops, meta.Op{Key: q.asideKey(n), Value: raw})
	}
	if _, err := q.store.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	q.log.Warn("a record of the queue is damaged; it was set aside, and its events are lost", "key", q.asideKey(n), "size", len(raw))
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state.forget(n, stored{cost: cost})
	q.damaged++
	q.touchLocked()
	q.freedLocked()
	return nil
}

// Remove removes a batch that was sent; see pipeline.Queue. Without ops it is made durable a
// little later, with others. After an error the batch is still there.
func (q *queue) Remove(ctx context.Context, b pipeline.Batch, ops ...meta.Op) error {
	own, ok := b.Token.(*batch)
	if !ok || own != q.current {
		return errors.New("bus/pipeline/queue: Remove of a batch that is not the one of the last Take")
	}
	now := q.clock.Now()
	q.mu.Lock()
	var undo []func()
	for _, p := range own.parts {
		undo = append(undo, q.sentLocked(p))
	}
	if len(q.state.pending) == 0 {
		q.warned = false
	}
	due := len(ops) > 0 || len(q.removed) >= flushCount || !q.dirty.IsZero() && now.Sub(q.dirty) >= flushAfter
	q.mu.Unlock()
	if due {
		err := q.flush(ctx, ops...)
		if err != nil && len(ops) > 0 {
			q.mu.Lock()
			defer q.mu.Unlock()
			for _, f := range undo {
				f()
			}
			return err
		}
		q.noteFailure(err)
	}
	q.current = nil
	if own.again || now.Sub(own.taken) > outage {
		q.mu.Lock()
		q.state.split = q.state.next // the sink is back: what waits now is the backlog
		q.mu.Unlock()
		q.filling, q.liveRun = nil, 0
	}
	return nil
}

// sentLocked notes that a part was sent, and returns what undoes it.
func (q *queue) sentLocked(p part) (undo func()) {
	n, before := p.number, q.state.taken[p.number]
	restore := func() {
		if before > 0 {
			q.state.taken[n] = before
		} else {
			delete(q.state.taken, n)
		}
	}
	if !q.state.pending.has(n) { // dropped meanwhile
		return func() {}
	}
	q.touchLocked()
	left := p.stored.events - int64(before)
	switch {
	case int64(p.to) < p.stored.events:
		q.state.out.events += int64(p.to - before)
		q.state.taken[n] = p.to
		return func() {
			q.state.out.events -= int64(p.to - before)
			restore()
		}
	case q.set.keep > 0:
		q.state.keep(n, p.stored)
		return func() {
			if q.state.again(n, left) {
				restore()
			}
		}
	}
	q.state.forget(n, p.stored)
	q.doneLocked(n)
	return func() {
		q.removed = slices.DeleteFunc(q.removed, func(r uint64) bool { return r == n })
		q.state.pending.add(span{n, n + 1})
		q.state.out.bytes -= p.stored.cost
		q.state.out.events -= left
		restore()
	}
}

// noteFailure logs once that what was sent could not be noted.
func (q *queue) noteFailure(err error) {
	if err != nil && !q.unnoted {
		q.log.Warn("what was sent cannot be noted in the store and may be sent again; this is logged once", "err", err)
	}
	q.unnoted = err != nil
}

// flush makes the state durable, with ops. Without any and with nothing to note it does
// nothing.
func (q *queue) flush(ctx context.Context, ops ...meta.Op) error {
	select {
	case q.changing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-q.changing }()
	q.mu.Lock()
	if q.dirty.IsZero() && len(ops) == 0 {
		q.mu.Unlock()
		return nil
	}
	since := q.dirty
	q.mu.Unlock()
	if err := q.expireKept(ctx); err != nil {
		return err
	}
	q.mu.Lock()
	// A batch of the store has a bound; the rest goes with the next.
	n := min(len(q.removed), 8*flushCount)
	removed := q.removed[:n:n]
	q.removed, q.dirty = q.removed[n:], time.Time{}
	if len(q.removed) > 0 {
		q.touchLocked()
	}
	for _, number := range removed {
		ops = append(ops, meta.Op{Key: q.dataKey(number), Delete: true})
	}
	ops = append(ops, meta.Op{Key: q.stateKey(), Value: q.state.encode()})
	q.mu.Unlock()
	if _, err := q.store.Apply(ctx, ops...); err != nil {
		q.mu.Lock()
		q.removed, q.dirty = append(removed, q.removed...), since
		q.touchLocked()
		q.mu.Unlock()
		return fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	return nil
}
