package pipelinetest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// Queues hold events in memory, also while no pipeline has them open. The zero value is
// ready.
type Queues struct {
	// Max is how many events a queue holds; 0 means 10,000. A full one acts by its overflow.
	Max int
	// Store takes the ops of Remove, if there are any.
	Store meta.Store
	// Now is the time of events; nil means time.Now.
	Now func() time.Time

	mu     sync.Mutex
	queues map[string]*queue
	dead   map[pipeline.Ref][]pipeline.DeadLetter
}

var _ pipeline.Queues = (*Queues)(nil)

func (q *Queues) now() time.Time {
	if q.Now == nil {
		return time.Now()
	}
	return q.Now()
}

// Open returns the queue of a sink.
func (q *Queues) Open(_ context.Context, ref pipeline.Ref, sink *v1alpha1.Sink) (pipeline.Queue, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queues == nil {
		q.queues = make(map[string]*queue)
	}
	name := ref.String() + " " + string(sink.Name)
	one := q.queues[name]
	if one == nil {
		one = &queue{all: q, ref: ref, sink: string(sink.Name)}
		q.queues[name] = one
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.open {
		return nil, fmt.Errorf("pipelinetest: the queue of %s is open already", name)
	}
	one.open, one.changed = true, make(chan struct{})
	one.batch, one.overflow = 100, v1alpha1.DropOldest
	if sink.Batch != nil && sink.Batch.Events > 0 {
		one.batch = int(sink.Batch.Events)
	}
	if sink.Queue != nil && sink.Queue.Overflow != "" {
		one.overflow = sink.Queue.Overflow
	}
	return one, nil
}

// Prune removes queues and dead letters.
func (q *Queues) Prune(_ context.Context, keep func(ref pipeline.Ref, sink string) bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, one := range q.queues {
		if !keep(one.ref, one.sink) {
			delete(q.queues, name)
		}
	}
	for ref := range q.dead {
		if !keep(ref, "") {
			delete(q.dead, ref)
		}
	}
	return nil
}

// StageDead prepares to keep dead letters.
func (q *Queues) StageDead(_ context.Context, ref pipeline.Ref, letters []pipeline.DeadLetter) (pipeline.Staged, error) {
	letters = slices.Clone(letters)
	return pipeline.Staged{Done: func(committed bool) {
		if !committed {
			return
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.dead == nil {
			q.dead = make(map[pipeline.Ref][]pipeline.DeadLetter)
		}
		q.dead[ref] = append(q.dead[ref], letters...)
	}}, nil
}

// Dead returns the dead letters of a pipeline.
func (q *Queues) Dead(ref pipeline.Ref) []pipeline.DeadLetter {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.dead[ref])
}

// Names returns which queues there are, as NAMESPACE/NAME SINK.
func (q *Queues) Names() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var names []string
	for name := range q.queues {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type queue struct {
	all  *Queues
	ref  pipeline.Ref
	sink string

	mu       sync.Mutex
	open     bool
	batch    int
	overflow string
	events   []pipeline.Event
	since    []time.Time
	dropped  int64
	blocked  bool
	changed  chan struct{}
}

func (q *queue) notifyLocked() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *queue) max() int {
	if q.all.Max == 0 {
		return 10_000
	}
	return q.all.Max
}

func (q *queue) Stage(ctx context.Context, events []pipeline.Event) (pipeline.Staged, error) {
	events = slices.Clone(events)
	for {
		q.mu.Lock()
		if !q.open {
			q.mu.Unlock()
			return pipeline.Staged{}, net.ErrClosed
		}
		wait := q.overflow == v1alpha1.Block && len(q.events) > 0 && len(q.events)+len(events) > q.max()
		q.blocked = wait
		changed := q.changed
		q.mu.Unlock()
		if !wait {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return pipeline.Staged{}, ctx.Err()
		}
	}
	return pipeline.Staged{Done: func(committed bool) {
		if !committed {
			return
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, e := range events {
			q.events, q.since = append(q.events, e), append(q.since, q.all.now())
		}
		if over := len(q.events) - q.max(); over > 0 && q.overflow == v1alpha1.DropOldest {
			q.events, q.since, q.dropped = q.events[over:], q.since[over:], q.dropped+int64(over)
		} else if over > 0 && q.overflow == v1alpha1.DropNewest {
			q.events, q.since, q.dropped = q.events[:q.max()], q.since[:q.max()], q.dropped+int64(over)
		}
		q.notifyLocked()
	}}, nil
}

func (q *queue) Take(ctx context.Context) (pipeline.Batch, error) {
	for {
		q.mu.Lock()
		if !q.open {
			q.mu.Unlock()
			return pipeline.Batch{}, net.ErrClosed
		}
		if n := min(len(q.events), q.batch); n > 0 {
			b := pipeline.Batch{Events: slices.Clone(q.events[:n]), Since: q.since[0], Token: n}
			q.mu.Unlock()
			return b, nil
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return pipeline.Batch{}, ctx.Err()
		}
	}
}

func (q *queue) Remove(ctx context.Context, b pipeline.Batch, ops ...meta.Op) error {
	if len(ops) > 0 && q.all.Store != nil {
		if _, err := q.all.Store.Apply(ctx, ops...); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(b.Events) == 0 {
		return nil
	}
	// By ids: the oldest may have been dropped meanwhile.
	for _, e := range b.Events {
		for i := range min(len(q.events), len(b.Events)) {
			if q.events[i].ID == e.ID && q.events[i].Source == e.Source {
				q.events, q.since = slices.Delete(q.events, i, i+1), slices.Delete(q.since, i, i+1)
				break
			}
		}
	}
	q.notifyLocked()
	return nil
}

func (q *queue) Stats() pipeline.QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := pipeline.QueueStats{Events: int64(len(q.events)), Dropped: q.dropped, Blocked: q.blocked}
	for i := range q.events {
		s.Bytes += int64(q.events[i].Size())
	}
	if len(q.since) > 0 {
		s.Oldest = q.since[0]
	}
	return s
}

func (q *queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open {
		q.open = false
		q.notifyLocked()
	}
	return nil
}
