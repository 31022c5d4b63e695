package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// maxStage bounds the events of one Append in the store: further changes fit into the batch.
const maxStage = 4 << 20

// Stage prepares an append; see pipeline.Queue. Between Stage and Done no other Stage goes on.
// While it waits for room it holds nothing.
func (q *queue) Stage(ctx context.Context, events []pipeline.Event) (pipeline.Staged, error) {
	if len(events) == 0 {
		return pipeline.Staged{}, nil
	}
	if err := q.acquire(ctx, q.appending); err != nil {
		return pipeline.Staged{}, err
	}
	staged, err := q.stage(ctx, events)
	if err != nil || staged.Done == nil {
		<-q.appending
	}
	return staged, err
}

// stage is Stage with the semaphore appending. Without Done the events are dropped.
func (q *queue) stage(ctx context.Context, events []pipeline.Event) (pipeline.Staged, error) {
	if err := q.load(ctx); err != nil {
		return pipeline.Staged{}, err
	}
	now := time.UnixMilli(q.clock.Now().UnixMilli()) // as it comes back from the store
	records, err := packer{q.set.pack}.pack(events, now)
	if err != nil {
		return pipeline.Staged{}, err
	}
	var values [][]byte
	var cost int64
	for _, r := range records {
		v := r.encode()
		values, cost = append(values, v), cost+q.cost(len(v))
	}
	room, err := q.makeRoom(ctx, cost)
	if err != nil {
		return pipeline.Staged{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if room == nil {
		q.dropped += int64(len(events))
		return pipeline.Staged{}, nil
	}
	ops, first, t := room.ops, q.state.next, q.state.tail
	for i, v := range values {
		ops = append(ops, meta.Op{Key: q.dataKey(first + uint64(i)), Value: v})
	}
	t.next, t.bytes, t.events = first+uint64(len(values)), t.bytes+cost, t.events+int64(len(events))
	ops = append(ops, meta.Op{Key: q.tailKey(), Value: t.encode()})
	return pipeline.Staged{Ops: ops, Done: func(committed bool) {
		q.mu.Lock()
		if committed {
			if len(q.state.pending) == 0 {
				q.oldest = now
			}
			q.state.pending.add(span{q.state.next, t.next})
			q.state.tail = t
		} else {
			room.restoreLocked(q)
		}
		q.mu.Unlock()
		<-q.appending
		if committed {
			q.notify()
		}
	}}, nil
}

// room is what was removed for new records.
type room struct {
	ops     []meta.Op
	evicted []evicted
	cleared []uint64 // of queue.removed
}

// evicted is one record that makes room.
type evicted struct {
	number uint64
	stored stored
	waited bool
	taken  int
}

// restoreLocked undoes the removal, which the store did not commit.
func (r *room) restoreLocked(q *queue) {
	for _, e := range r.evicted {
		if e.waited {
			q.state.pending.add(span{e.number, e.number + 1})
			q.state.out.events -= e.stored.events - int64(e.taken)
			q.dropped -= e.stored.events - int64(e.taken)
			if e.taken > 0 {
				q.state.taken[e.number] = e.taken
			}
		} else {
			q.state.kept.add(span{e.number, e.number + 1})
		}
		q.state.out.bytes -= e.stored.cost
	}
	q.removed = append(r.cleared, q.removed...)
}

// makeRoom makes room for a cost. It returns nil if there is none and the new events are to be
// dropped.
func (q *queue) makeRoom(ctx context.Context, cost int64) (*room, error) {
	for {
		q.mu.Lock()
		free := q.set.maxSize - q.state.size()
		kept, waiting, more := len(q.state.kept) > 0, len(q.state.pending) > 0, q.room
		q.mu.Unlock()
		if free >= cost || !kept && !waiting {
			return &room{}, nil
		}
		if kept || q.set.overflow == v1alpha1.DropOldest {
			r, enough, err := q.evict(ctx, cost-free)
			if err != nil || enough {
				return r, err
			}
			if len(r.evicted) >= maxEvicted {
				if err := q.apply(ctx, r); err != nil {
					return nil, err
				}
				continue
			}
			q.mu.Lock()
			r.restoreLocked(q) // what is kept alone does not make room enough
			q.mu.Unlock()
		}
		q.warnFull()
		if q.set.overflow == v1alpha1.DropNewest {
			return nil, nil
		}
		if err := q.waitForRoom(ctx, more, cost); err != nil {
			return nil, err
		}
	}
}

// apply removes from the store what makes room, by itself: one batch does not hold all.
func (q *queue) apply(ctx context.Context, r *room) error {
	if _, err := q.store.Apply(ctx, r.ops...); err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		r.restoreLocked(q)
		return fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	return nil
}

// waitForRoom waits until something was removed. Nobody else may append meanwhile: the order
// of events is that of the calls.
func (q *queue) waitForRoom(ctx context.Context, more <-chan struct{}, cost int64) error {
	q.mu.Lock()
	q.blocked++
	if more != (<-chan struct{})(q.room) || q.set.maxSize-q.state.size() >= cost { // it changed meanwhile
		q.blocked--
		q.mu.Unlock()
		return nil
	}
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.blocked--
		q.mu.Unlock()
	}()
	select {
	case <-more:
		return nil
	case <-q.done:
		return q.errClosed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxEvicted is how many records one batch of the store removes to make room.
const maxEvicted = 4096

// evict removes records: kept ones first, then, with DropOldest, the oldest that wait. It
// reports whether they make room enough; with DropOldest an empty queue has room for anything.
func (q *queue) evict(ctx context.Context, cost int64) (*room, bool, error) {
	r := &room{}
	all := false
	for cost > 0 && len(r.evicted) < maxEvicted {
		q.mu.Lock()
		n, ok := q.state.kept.next(0)
		if !ok && q.set.overflow == v1alpha1.DropOldest {
			n, ok = q.state.pending.next(0)
		}
		q.mu.Unlock()
		if !ok {
			all = q.set.overflow == v1alpha1.DropOldest
			break
		}
		d, taken, _, err := q.get(ctx, n)
		if err != nil && !errors.Is(err, errDamaged) {
			q.mu.Lock()
			r.restoreLocked(q)
			q.mu.Unlock()
			return nil, false, err
		}
		e := evicted{number: n, stored: stored{cost: taken}}
		if d != nil {
			e.stored.events = int64(d.count)
		}
		q.mu.Lock()
		e.taken = q.state.taken[n]
		there := q.state.kept.has(n) || q.state.pending.has(n) // Take may have been faster
		if e.waited = q.state.forget(n, e.stored); e.waited {
			q.dropped += e.stored.events - int64(e.taken)
		}
		q.mu.Unlock()
		if !there {
			continue
		}
		r.evicted, cost = append(r.evicted, e), cost-e.stored.cost
		r.ops = append(r.ops, meta.Op{Key: q.dataKey(n), Delete: true})
	}
	if q.set.overflow == v1alpha1.DropOldest && len(r.evicted) > 0 && r.evicted[len(r.evicted)-1].waited {
		q.warnFull()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	// The new state does not have the records that are done: they go with it. A state that is
	// overtaken by a newer one on its way to the store does no harm: it says that records wait
	// which are not there.
	for _, n := range q.removed {
		r.ops = append(r.ops, meta.Op{Key: q.dataKey(n), Delete: true})
	}
	r.cleared, q.removed = q.removed, nil
	r.ops = append(r.ops, meta.Op{Key: q.stateKey(), Value: q.state.encode()})
	return r, cost <= 0 || all, nil
}

// warnFull logs the overflow, once until the queue is empty.
func (q *queue) warnFull() {
	q.mu.Lock()
	first := !q.warned
	q.warned = true
	q.mu.Unlock()
	if first {
		q.log.Warn("queue is full; this is logged once until it is empty", "maxSize", q.set.maxSize, "overflow", q.set.overflow)
	}
}
