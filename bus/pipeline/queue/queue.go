package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/compress"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// settings are what a sink asks of its queue, with the defaults.
type settings struct {
	maxSize  int64         // bytes on the disk, with events that are kept
	maxAge   time.Duration // after which waiting events are dropped
	overflow string
	keep     time.Duration // how long sent events stay
	live     int           // live batches for each of the backlog
	batch    int           // most events of a batch
	linger   time.Duration
	pack     compress.Kind // of the records
}

// Defaults and bounds of a queue.
const (
	defaultSize  = 64 << 20
	defaultAge   = 7 * 24 * time.Hour
	defaultLive  = 4
	defaultBatch = 100
	maxBatch     = 10_000
	batchBytes   = 1 << 20 // of the events of a batch, by Event.Size, but for a single event
	maxLinger    = time.Hour
)

// settingsOf reads a spec. An error names the field and the remedy.
func settingsOf(sink *v1alpha1.Sink) (settings, error) {
	s := settings{maxSize: defaultSize, maxAge: defaultAge, overflow: v1alpha1.DropOldest, live: defaultLive, batch: defaultBatch}
	if spec := sink.Queue; spec != nil {
		if spec.MaxSize != nil {
			s.maxSize = spec.MaxSize.Value()
		}
		if spec.MaxAge != nil {
			s.maxAge = spec.MaxAge.Duration
		}
		if spec.Overflow != "" {
			s.overflow = spec.Overflow
		}
		if spec.Keep != nil {
			s.keep = spec.Keep.Duration
		}
		if spec.Live > 0 {
			s.live = int(spec.Live)
		}
	}
	if spec := sink.Batch; spec != nil {
		if spec.Events > 0 {
			s.batch = int(min(spec.Events, maxBatch))
		}
		if spec.Linger != nil {
			s.linger = spec.Linger.Duration
		}
		kind, err := compress.Parse(spec.Compression)
		if err != nil {
			return s, fmt.Errorf("batch.compression: %w", err)
		}
		s.pack = kind
	}
	switch s.overflow {
	case v1alpha1.DropOldest, v1alpha1.DropNewest, v1alpha1.Block:
	default:
		return s, fmt.Errorf("queue.overflow is %.40q: use DropOldest, DropNewest or Block", s.overflow)
	}
	switch {
	case s.maxSize < 64<<10:
		return s, fmt.Errorf("queue.maxSize is %d bytes: use 64Ki or more", s.maxSize)
	case s.maxAge <= 0:
		return s, fmt.Errorf("queue.maxAge is %s: use a positive duration", s.maxAge)
	case s.keep < 0:
		return s, fmt.Errorf("queue.keep is %s: use a positive duration, or leave it out", s.keep)
	case s.linger < 0 || s.linger > maxLinger:
		return s, fmt.Errorf("batch.linger is %s: use 0s to 1h", s.linger)
	}
	return s, nil
}

// queue is the queue of one sink.
type queue struct {
	set    settings
	store  meta.Store
	prefix string // of its keys in the store
	clock  pipeline.Clock
	log    *slog.Logger
	closed func() // called once by Close

	wake      chan struct{} // has a value when something was appended or made waiting
	done      chan struct{} // closed by Close
	appending chan struct{} // has a value while numbers are given and records stored
	changing  chan struct{} // has a value while the state is stored

	mu      sync.Mutex
	loaded  bool
	ended   bool
	state   state
	removed []uint64      // records that are done, to be removed from the store
	dirty   time.Time     // since when the stored state is behind; zero if it is not
	room    chan struct{} // closed when there is more room
	blocked int           // calls of Stage that wait for room
	dropped int64
	damaged int64     // records that were set aside
	warned  bool      // of the overflow, since the queue was last empty
	oldest  time.Time // when the first record that waits was stored, as far as is known

	// The goroutine that takes owns the following.
	current *batch // was taken and not removed
	filling *batch // of live events, while they linger
	liveRun int    // live batches since the last of the backlog
	unnoted bool   // what was sent could not be noted in the store
	opened  opened // the last record that was read
}

// opened is a record with its events.
type opened struct {
	number uint64
	record *record // nil if there is none
	cost   int64
	events []pipeline.Event
}

var _ pipeline.Queue = (*queue)(nil)

// The keys of a queue below its prefix.
//
//	d/<number>  a record of events
//	t           the tail: the next number, what was ever appended
//	s           the state: what waits, what is kept, what was removed
//	x/<number>  a damaged record
func (q *queue) dataKey(number uint64) string { return fmt.Sprintf("%sd/%016x", q.prefix, number) }
func (q *queue) tailKey() string              { return q.prefix + "t" }
func (q *queue) stateKey() string             { return q.prefix + "s" }
func (q *queue) asideKey(number uint64) string {
	return fmt.Sprintf("%sx/%016x", q.prefix, number)
}

// cost is what a record of so many bytes takes of the queue's size.
func (q *queue) cost(size int) int64 { return int64(size + len(q.prefix) + 18 + 64) }

// Append stores events: Stage, and a batch of the store of its own.
func (q *queue) Append(ctx context.Context, events []pipeline.Event) error {
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) && (n == 0 || size < maxStage) {
			size += events[n].Size()
			n++
		}
		staged, err := q.Stage(ctx, events[:n])
		if err != nil {
			return err
		}
		if len(staged.Ops) > 0 {
			_, err = q.store.Apply(ctx, staged.Ops...)
		}
		if staged.Done != nil {
			staged.Done(err == nil)
		}
		if err != nil {
			return fmt.Errorf("bus/pipeline/queue: %w", err)
		}
		events = events[n:]
	}
	return nil
}

// Stats returns what waits.
func (q *queue) Stats() pipeline.QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := pipeline.QueueStats{Events: q.state.waiting(), Bytes: q.state.size(), Dropped: q.dropped, Blocked: q.blocked > 0}
	if s.Events > 0 {
		s.Oldest = q.oldest
	}
	return s
}

// Close ends Take and Stage; see pipeline.Queue.
func (q *queue) Close() error {
	q.mu.Lock()
	if q.ended {
		q.mu.Unlock()
		return nil
	}
	q.ended = true
	close(q.done)
	loaded := q.loaded
	q.mu.Unlock()
	var err error
	if loaded {
		err = q.flush(context.Background()) // Close has no context, and what was sent is to be noted in any case
	}
	q.closed()
	return err
}

// errClosed is returned after Close.
func (q *queue) errClosed() error { return fmt.Errorf("bus/pipeline/queue: %w", net.ErrClosed) }

// acquire takes a semaphore, unless the queue is closed or ctx ends.
func (q *queue) acquire(ctx context.Context, sem chan struct{}) error {
	select {
	case <-q.done:
		return q.errClosed()
	default:
	}
	select {
	case sem <- struct{}{}:
		return nil
	case <-q.done:
		return q.errClosed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// notify wakes Take.
func (q *queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// freedLocked wakes those that wait for room.
func (q *queue) freedLocked() {
	if q.blocked > 0 {
		close(q.room)
		q.room = make(chan struct{})
	}
}

// get reads a record, which is nil if there is none of the number. A damaged one is an error
// that wraps errDamaged; cost is then right nevertheless.
func (q *queue) get(ctx context.Context, number uint64) (r *record, cost int64, raw []byte, err error) {
	got, err := q.store.Get(ctx, q.dataKey(number))
	if errors.Is(err, meta.ErrNotFound) {
		return nil, 0, nil, nil
	}
	if err != nil {
		return nil, 0, nil, fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	cost = q.cost(len(got.Value))
	d, err := decodeRecord(got.Value)
	if err != nil {
		return nil, cost, got.Value, err
	}
	return &d, cost, got.Value, nil
}
