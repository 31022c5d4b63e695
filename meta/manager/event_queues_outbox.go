package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// Sources yields the source of each queue that has events.
func (q *EventQueues) Sources(ctx context.Context) (iter.Seq[string], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.loadLocked(ctx); err != nil {
		return nil, err
	}
	var list []string
	for source, e := range q.sources {
		if len(e.sizes) > 0 {
			list = append(list, source)
		}
	}
	return slices.Values(list), nil
}

// Next reads the oldest event of a queue whose id is larger than after, or returns io.EOF.
func (q *EventQueues) Next(ctx context.Context, source string, after uint64) (hub.Event, error) {
	for {
		q.mu.Lock()
		err := q.loadLocked(ctx)
		e := q.sources[source]
		var id, last uint64
		if e != nil {
			id, last = max(after, e.acked)+1, e.last()
		}
		q.mu.Unlock()
		if err != nil {
			return hub.Event{}, err
		}
		if id == 0 || id > last {
			return hub.Event{}, io.EOF
		}
		after = id
		r, err := q.cfg.Store.Get(ctx, q.eventKey(source, id))
		if errors.Is(err, meta.ErrNotFound) {
			continue // dropped or acknowledged since
		}
		if err != nil {
			return hub.Event{}, fmt.Errorf("meta/manager: %w", err)
		}
		if key, body, ok := decodeEvent(r.Value); ok {
			return hub.Event{Source: source, ID: id, Key: key, Body: body}, nil
		}
		q.log.Warn("stored event cannot be read", "key", r.Key)
	}
}

// Acked removes the events of a queue up to id.
func (q *EventQueues) Acked(ctx context.Context, source string, id uint64) error {
	for {
		q.mu.Lock()
		err := q.loadLocked(ctx)
		e := q.sources[source]
		var ops []meta.Op
		var to uint64
		if e != nil {
			to = min(id, e.last(), e.acked+maxDrop)
			for i := e.acked + 1; i <= to; i++ {
				ops = append(ops, meta.Op{Key: q.eventKey(source, i), Delete: true})
			}
		}
		q.mu.Unlock()
		if err != nil || len(ops) == 0 {
			return err
		}
		if _, err := q.cfg.Store.Apply(ctx, ops...); err != nil {
			return fmt.Errorf("meta/manager: %w", err)
		}
		q.mu.Lock()
		q.acked += q.removeLocked(e, to)
		q.mu.Unlock()
	}
}

// Subscribe has appended called with the source of each new event, until stop is called.
func (q *EventQueues) Subscribe(appended func(source string)) (stop func()) {
	return q.subs.add(appended)
}
