package queue

import (
	"context"
	"errors"
	"time"
)

// clockSet reports whether a time is one of a clock that was set: a machine without a battery for
// its clock begins in 1970.
func clockSet(t time.Time) bool { return t.Year() >= 2020 }

// ageOf is how long a record has waited: 0 if it was stored before the clock was set, since
// nobody knows.
func (q *queue) ageOf(d *record) time.Duration {
	now := q.clock.Now()
	if clockSet(now) && !clockSet(d.stored) {
		return 0
	}
	return now.Sub(d.stored)
}

// expireKept removes sent records that were kept long enough, some at a time.
func (q *queue) expireKept(ctx context.Context) error {
	for range 64 {
		q.mu.Lock()
		n, ok := q.state.kept.next(0)
		q.mu.Unlock()
		if !ok {
			return nil
		}
		d, cost, _, err := q.get(ctx, n)
		if err != nil && !errors.Is(err, errDamaged) {
			return err
		}
		if d != nil && q.clock.Now().Sub(d.stored) <= q.set.keep {
			return nil
		}
		s := stored{cost: cost}
		if d != nil {
			s.events = int64(d.count)
		}
		q.mu.Lock()
		q.state.forget(n, s)
		q.doneLocked(n)
		q.mu.Unlock()
	}
	return nil
}
