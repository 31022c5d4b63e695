package pipelinetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// Queues hold events in memory, also while no pipeline has them open, and in a Store if there
// is one. The zero value is ready.
type Queues struct {
	// Max is how many events a queue holds; 0 means 10,000. A full one acts by its overflow.
	Max int
	// Store, if not nil, has the events, too: another Queues with the same Store, as after a
	// restart, has them when a queue is opened. Their data are as JSON decodes them.
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
func (q *Queues) Open(ctx context.Context, ref pipeline.Ref, sink *v1alpha1.Sink) (pipeline.Queue, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queues == nil {
		q.queues = make(map[string]*queue)
	}
	name := ref.String() + " " + string(sink.Name)
	one := q.queues[name]
	if one == nil {
		one = &queue{all: q, ref: ref, sink: string(sink.Name), prefix: "pipelinetest/" + name + "/"}
		if err := one.load(ctx); err != nil {
			return nil, err
		}
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
func (q *Queues) Prune(ctx context.Context, keep func(ref pipeline.Ref, sink string) bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, one := range q.queues {
		if keep(one.ref, one.sink) {
			continue
		}
		delete(q.queues, name)
		if q.Store == nil {
			continue
		}
		for _, i := range one.items {
			if _, err := q.Store.Apply(ctx, meta.Op{Key: i.key, Delete: true}); err != nil {
				return err
			}
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

// item is one event of a queue.
type item struct {
	key   string // in the store
	event pipeline.Event
	since time.Time
}

type queue struct {
	all    *Queues
	ref    pipeline.Ref
	sink   string
	prefix string

	mu       sync.Mutex
	open     bool
	batch    int
	overflow string
	items    []item
	seq      int64
	dropped  int64
	blocked  bool
	changed  chan struct{}
}

// load reads what the store has.
func (q *queue) load(ctx context.Context) error {
	if q.all.Store == nil {
		return nil
	}
	records, _, err := q.all.Store.List(ctx, q.prefix)
	if err != nil {
		return err
	}
	for _, r := range records {
		i := item{key: r.Key, since: q.all.now()}
		if err := json.Unmarshal(r.Value, &i.event); err != nil {
			return err
		}
		if _, err := fmt.Sscanf(r.Key[len(q.prefix):], "%d", &q.seq); err != nil {
			return err
		}
		q.items = append(q.items, i)
	}
	return nil
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
	if err := q.room(ctx, len(events)); err != nil {
		return pipeline.Staged{}, err
	}
	var st pipeline.Staged
	var items []item
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range events {
		q.seq++
		i := item{key: fmt.Sprintf("%s%012d", q.prefix, q.seq), event: e, since: q.all.now()}
		items = append(items, i)
		if q.all.Store != nil {
			raw, err := json.Marshal(e)
			if err != nil {
				return st, err
			}
			st.Ops = append(st.Ops, meta.Op{Key: i.key, Value: raw})
		}
	}
	st.Done = func(committed bool) {
		if !committed {
			return
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		q.items = append(q.items, items...)
		if over := len(q.items) - q.max(); over > 0 && q.overflow == v1alpha1.DropOldest {
			q.items, q.dropped = q.items[over:], q.dropped+int64(over)
		} else if over > 0 && q.overflow == v1alpha1.DropNewest {
			q.items, q.dropped = q.items[:q.max()], q.dropped+int64(over)
		}
		q.notifyLocked()
	}
	return st, nil
}

// room waits for room, with overflow Block.
func (q *queue) room(ctx context.Context, n int) error {
	for {
		q.mu.Lock()
		if !q.open {
			q.mu.Unlock()
			return net.ErrClosed
		}
		q.blocked = q.overflow == v1alpha1.Block && len(q.items) > 0 && len(q.items)+n > q.max()
		wait, changed := q.blocked, q.changed
		q.mu.Unlock()
		if !wait {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (q *queue) Take(ctx context.Context) (pipeline.Batch, error) {
	for {
		q.mu.Lock()
		if !q.open {
			q.mu.Unlock()
			return pipeline.Batch{}, net.ErrClosed
		}
		if n := min(len(q.items), q.batch); n > 0 {
			taken := slices.Clone(q.items[:n])
			q.mu.Unlock()
			b := pipeline.Batch{Since: taken[0].since, Token: taken}
			for _, i := range taken {
				b.Events = append(b.Events, i.event)
			}
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
	taken, ok := b.Token.([]item)
	if !ok {
		return fmt.Errorf("pipelinetest: the batch is not of this queue")
	}
	if q.all.Store != nil {
		for _, i := range taken {
			ops = append(ops, meta.Op{Key: i.key, Delete: true})
		}
		if _, err := q.all.Store.Apply(ctx, ops...); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	last := taken[len(taken)-1].key // the oldest may have been dropped meanwhile
	q.items = slices.DeleteFunc(q.items, func(i item) bool { return i.key <= last })
	q.notifyLocked()
	return nil
}

func (q *queue) Stats() pipeline.QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := pipeline.QueueStats{Events: int64(len(q.items)), Dropped: q.dropped, Blocked: q.blocked}
	for i := range q.items {
		s.Bytes += int64(q.items[i].event.Size())
	}
	if len(q.items) > 0 {
		s.Oldest = q.items[0].since
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
