package manager

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// EventQueuesConfig sets up EventQueues. Store and Area are required.
type EventQueuesConfig struct {
	Store meta.Store
	// Area is where the queues are in the store: a folder below meta.Local that ends with
	// a slash.
	Area string
	// MaxEvents is how many events one queue holds, MaxBytes how many bytes all queues hold
	// together; one more drops the oldest of its queue, so that the newest are kept. 0
	// means 10,000 and 64 MiB.
	MaxEvents int
	MaxBytes  int64
	Logger    *slog.Logger // nil discards
}

// EventQueues are queues of events for the cloud: each has a source of its own on the link,
// so that a queue whose events are not taken delays no other. Within a queue events keep
// their order. They are durable when Append returns, and stay until the cloud has
// acknowledged them.
//
// It is a hub.Outbox; see Outboxes. Its methods may be called by several goroutines at once.
type EventQueues struct {
	cfg EventQueuesConfig
	log *slog.Logger

	// mu guards the fields below. It is not held while the store works, except in load.
	mu      sync.Mutex
	loaded  bool
	queues  map[string]*eventQueue // by name
	sources map[string]*eventQueue
	bytes   int64 // of all queues
	dropped uint64
	acked   uint64 // events, since the start

	subs subscribers[string] // get the source
}

// eventQueue is one queue: its events have the ids after acked, in order and without gaps.
type eventQueue struct {
	name, source string
	writing      chan struct{} // holds a value while an Append writes
	acked        uint64        // the last id that was removed or never given
	sizes        []int32       // of the events, oldest first
}

// QueueStats are counts of EventQueues.
type QueueStats struct {
	Queues  int
	Events  int    // waiting, in all queues
	Bytes   int64  // of those
	Dropped uint64 // because a bound was reached, since the start
	Acked   uint64 // by the cloud, since the start
}

var _ hub.Outbox = (*EventQueues)(nil)

// NewEventQueues checks the configuration. It does no I/O.
func NewEventQueues(cfg EventQueuesConfig) (*EventQueues, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("meta/manager: EventQueuesConfig.Store is required")
	case !strings.HasPrefix(cfg.Area, meta.Local) || !strings.HasSuffix(cfg.Area, "/"):
		return nil, fmt.Errorf("meta/manager: EventQueuesConfig.Area is %q: it must be a folder below %s and end with a slash", cfg.Area, meta.Local)
	case cfg.MaxEvents < 0 || cfg.MaxBytes < 0:
		return nil, errors.New("meta/manager: EventQueuesConfig.MaxEvents or MaxBytes is negative: leave it 0 for the default")
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = 10_000
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &EventQueues{cfg: cfg, log: log, queues: make(map[string]*eventQueue), sources: make(map[string]*eventQueue)}, nil
}

// The keys of a queue: its source, and its events by source and id.
func (q *EventQueues) nameKey(name string) string {
	return q.cfg.Area + "source/" + url.PathEscape(name)
}
func (q *EventQueues) eventKey(source string, id uint64) string {
	return fmt.Sprintf("%sevent/%s/%020d", q.cfg.Area, source, id)
}

// loadLocked reads what an earlier run left. It needs mu.
func (q *EventQueues) loadLocked(ctx context.Context) error {
	if q.loaded {
		return nil
	}
	view, err := q.cfg.Store.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	defer view.Close()
	clear(q.queues)
	clear(q.sources)
	q.bytes = 0
	for r, err := range view.Records(ctx, q.cfg.Area+"source/") {
		if err != nil {
			return fmt.Errorf("meta/manager: %w", err)
		}
		name, err := url.PathUnescape(strings.TrimPrefix(r.Key, q.cfg.Area+"source/"))
		var seq sequence
		if err != nil || json.Unmarshal(r.Value, &seq) != nil || seq.Source == "" {
			q.log.Warn("stored queue of events cannot be read; a new one is started", "key", r.Key)
			continue
		}
		q.addLocked(name, seq)
	}
	for r, err := range view.Records(ctx, q.cfg.Area+"event/") {
		if err != nil {
			return fmt.Errorf("meta/manager: %w", err)
		}
		source, digits, _ := strings.Cut(strings.TrimPrefix(r.Key, q.cfg.Area+"event/"), "/")
		id, err := strconv.ParseUint(digits, 10, 64)
		e := q.sources[source]
		if e == nil || err != nil {
			continue // of a queue that cannot be read
		}
		if len(e.sizes) == 0 {
			e.acked = id - 1
		}
		e.sizes = append(e.sizes, int32(len(r.Value)))
		q.bytes += int64(len(r.Value))
	}
	q.loaded = true
	return nil
}

// addLocked adds a queue; it needs mu.
func (q *EventQueues) addLocked(name string, seq sequence) *eventQueue {
	e := &eventQueue{name: name, source: seq.Source, acked: seq.Last, writing: make(chan struct{}, 1)}
	q.queues[name], q.sources[seq.Source] = e, e
	return e
}

// queue returns the queue of a name, and makes it.
func (q *EventQueues) queue(ctx context.Context, name string) (*eventQueue, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.loadLocked(ctx); err != nil {
		return nil, err
	}
	if e := q.queues[name]; e != nil {
		return e, nil
	}
	return q.addLocked(name, sequence{Source: "queue-" + rand.Text()}), nil
}

// errQueueName is the error for a name that no queue can have.
var errQueueName = errors.New("meta/manager: a queue's name has 1 to 600 bytes")

// lock returns the queue of a name, and makes it. Nobody else writes it until the caller
// receives from its channel writing.
func (q *EventQueues) lock(ctx context.Context, name string) (*eventQueue, error) {
	for {
		e, err := q.queue(ctx, name)
		if err != nil {
			return nil, err
		}
		select {
		case e.writing <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		q.mu.Lock()
		current := q.queues[name] == e
		q.mu.Unlock()
		if current {
			return e, nil
		}
		<-e.writing // Remove was quicker
	}
}

// Append adds events to a queue, all or none. They are durable when it returns. key names
// what the events are about; all have the same.
func (q *EventQueues) Append(ctx context.Context, name string, key meta.Key, bodies ...[]byte) error {
	if name == "" || len(name) > 600 {
		return errQueueName
	}
	if !key.Valid() {
		return fmt.Errorf("meta/manager: %w", invalid(key, "key cannot be stored"))
	}
	if len(bodies) == 0 {
		return nil
	}
	e, err := q.lock(ctx, name)
	if err != nil {
		return err
	}
	defer func() { <-e.writing }()
	ops, sizes, dropTo := q.batch(e, key, bodies)
	if _, err := q.cfg.Store.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	q.written(e, sizes, dropTo)
	q.subs.call(e.source)
	return nil
}

// maxDrop is how many events one batch removes at most: a batch of the store has a limit.
const maxDrop = 1000

// batch makes the changes for new events, and the removal of the oldest that are too many:
// those up to dropTo.
func (q *EventQueues) batch(e *eventQueue, key meta.Key, bodies [][]byte) (ops []meta.Op, sizes []int32, dropTo uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	last, total := e.last(), q.bytes
	for _, body := range bodies {
		last++
		value := encodeEvent(key, body)
		sizes, total = append(sizes, int32(len(value))), total+int64(len(value))
		ops = append(ops, meta.Op{Key: q.eventKey(e.source, last), Value: value})
	}
	left := len(e.sizes) + len(sizes)
	// The newest event stays in any case. Where the bounds are lower than in an earlier run, it
	// takes several batches until they hold.
	for n := 0; n < maxDrop && left > 1 && (left > q.cfg.MaxEvents || total > q.cfg.MaxBytes); n++ {
		size := sizes[max(0, n-len(e.sizes))]
		if n < len(e.sizes) {
			size = e.sizes[n]
		}
		dropTo = e.acked + uint64(n) + 1
		ops = append(ops, meta.Op{Key: q.eventKey(e.source, dropTo), Delete: true})
		total -= int64(size)
		left--
	}
	text, err := json.Marshal(sequence{Source: e.source, Last: last})
	if err != nil { // a string and a number always have JSON
		text = nil
	}
	return append(ops, meta.Op{Key: q.nameKey(e.name), Value: text}), sizes, dropTo
}

// written updates a queue after its events are durable.
func (q *EventQueues) written(e *eventQueue, sizes []int32, dropTo uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.sizes = append(e.sizes, sizes...)
	for _, n := range sizes {
		q.bytes += int64(n)
	}
	if n := q.removeLocked(e, dropTo); n > 0 {
		q.dropped += n
		if q.dropped%100 < n || q.dropped == n {
			q.log.Warn("queue of events is full: oldest events dropped; logged once in a hundred", "queue", e.name, "dropped", q.dropped)
		}
	}
}

// last is the last id that was given.
func (e *eventQueue) last() uint64 { return e.acked + uint64(len(e.sizes)) }

// removeLocked forgets the events up to id and returns how many those were. It needs mu.
func (q *EventQueues) removeLocked(e *eventQueue, id uint64) (n uint64) {
	for ; len(e.sizes) > 0 && e.acked < id; n++ {
		q.bytes -= int64(e.sizes[0])
		e.sizes, e.acked = e.sizes[1:], e.acked+1
	}
	if len(e.sizes) == 0 {
		e.sizes = nil
	}
	return n
}

// Remove forgets a queue if it is empty. One with events stays, and is gone when it has
// none at a later Remove.
func (q *EventQueues) Remove(ctx context.Context, name string) error {
	q.mu.Lock()
	err := q.loadLocked(ctx)
	e := q.queues[name]
	q.mu.Unlock()
	if err != nil || e == nil {
		return err
	}
	select {
	case e.writing <- struct{}{}:
		defer func() { <-e.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	q.mu.Lock()
	empty := len(e.sizes) == 0 && q.queues[name] == e
	q.mu.Unlock()
	if !empty {
		return nil
	}
	if _, err := q.cfg.Store.Apply(ctx, meta.Op{Key: q.nameKey(name), Delete: true}); err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.queues, name)
	delete(q.sources, e.source)
	return nil
}

// Names returns the names of all queues, in order.
func (q *EventQueues) Names(ctx context.Context) ([]string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.loadLocked(ctx); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(q.queues)), nil
}

// Stats returns the counts; those of waiting events are known once the store was read.
func (q *EventQueues) Stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := QueueStats{Queues: len(q.queues), Bytes: q.bytes, Dropped: q.dropped, Acked: q.acked}
	for _, e := range q.queues {
		s.Events += len(e.sizes)
	}
	return s
}

// Waiting returns how many events of a queue wait, and how many bytes of all queues do. A queue
// that does not exist has none.
func (q *EventQueues) Waiting(ctx context.Context, name string) (events int, total int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.loadLocked(ctx); err != nil {
		return 0, 0, err
	}
	if e := q.queues[name]; e != nil {
		events = len(e.sizes)
	}
	return events, q.bytes, nil
}
