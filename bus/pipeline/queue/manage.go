package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// numbers gives a copy of a set of records.
func (q *queue) numbers(of func(*state) spans) spans {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(of(&q.state))
}

// look calls show with the records of a set, oldest first. Those that are damaged or not there
// any more are left out. show reports whether to go on.
func (q *queue) look(ctx context.Context, set spans, show func(n uint64, r *record, cost int64) (bool, error)) error {
	for n, ok := set.next(0); ok; n, ok = set.next(n + 1) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		r, cost, _, err := q.get(ctx, n)
		if errors.Is(err, errDamaged) || err == nil && r == nil {
			continue
		}
		if err != nil {
			return err
		}
		if more, err := show(n, r, cost); err != nil || !more {
			return err
		}
	}
	return nil
}

// export calls show with the events that wait.
func (q *queue) export(ctx context.Context, show func(pipeline.Event) error) error {
	return q.look(ctx, q.numbers(func(s *state) spans { return s.pending }), func(n uint64, r *record, _ int64) (bool, error) {
		events, err := r.events()
		if err != nil {
			return true, nil // Take sets it aside
		}
		q.mu.Lock()
		skip := min(q.state.taken[n], len(events))
		q.mu.Unlock()
		for _, e := range events[skip:] {
			if err := show(e); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

// drop removes the records that wait and were stored before a time; zero means all.
func (q *queue) drop(ctx context.Context, before time.Time) (int64, error) {
	dropped := int64(0)
	flush := func(least int) error {
		q.mu.Lock()
		due := len(q.removed) >= least
		q.mu.Unlock()
		if !due {
			return nil
		}
		return q.flush(ctx)
	}
	err := q.look(ctx, q.numbers(func(s *state) spans { return s.pending }), func(n uint64, r *record, cost int64) (bool, error) {
		if !before.IsZero() && !r.stored.Before(before) {
			return false, nil
		}
		q.mu.Lock()
		left := int64(r.count - q.state.taken[n])
		if q.state.forget(n, stored{cost, int64(r.count)}) {
			q.dropped += left
			dropped += left
			q.doneLocked(n)
		}
		q.mu.Unlock()
		return true, flush(flushCount)
	})
	return dropped, errors.Join(err, flush(1))
}

// replay has kept records wait again.
func (q *queue) replay(ctx context.Context, from, to time.Time) (int64, error) {
	events := int64(0)
	err := q.look(ctx, q.numbers(func(s *state) spans { return s.kept }), func(n uint64, r *record, _ int64) (bool, error) {
		if !to.IsZero() && !r.stored.Before(to) {
			return false, nil
		}
		if r.stored.Before(from) {
			return true, nil
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.state.again(n, int64(r.count)) {
			events += int64(r.count)
			q.touchLocked()
		}
		return true, nil
	})
	q.mu.Lock()
	q.state.split = q.state.next
	q.mu.Unlock()
	err = errors.Join(err, q.flush(ctx))
	q.notify()
	return events, err
}
