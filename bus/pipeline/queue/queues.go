package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// Config sets up Queues. Store is required.
type Config struct {
	Store  meta.Store     // keeps events and dead letters, under Area
	Clock  pipeline.Clock // nil means pipeline.SystemClock
	Logger *slog.Logger   // nil discards
}

// Area is where all records lie in the store.
const Area = meta.Local + "pipeline-queue/"

// Below Area, NAME is NAMESPACE/PIPELINE and each part is escaped.
//
//	names/NAME/SINK  empty: there may be records of the queue
//	names/NAME/      empty: there may be dead letters
//	queue/NAME/SINK/ the records of a queue
//	dead/NAME/       dead letters
const (
	namesArea = Area + "names/"
	queueArea = Area + "queue/"
	deadArea  = Area + "dead/"
)

// Queues are the queues and dead letters of all pipelines of a program. All methods may be
// called by several goroutines at once.
type Queues struct {
	cfg Config

	mu      sync.Mutex
	open    map[string]*queue // by path
	letters map[string]*letters
	named   map[string]bool // dead letters of it are named in the store
}

var _ pipeline.Queues = (*Queues)(nil)

// New checks cfg and allocates Queues. It reads nothing.
func New(cfg Config) (*Queues, error) {
	if cfg.Store == nil {
		return nil, errors.New("bus/pipeline/queue: Config.Store is required")
	}
	if cfg.Clock == nil {
		cfg.Clock = pipeline.SystemClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Queues{cfg: cfg, open: make(map[string]*queue), letters: make(map[string]*letters), named: make(map[string]bool)}, nil
}

// refPath and sinkPath are the parts of keys.
func refPath(ref pipeline.Ref) string {
	return url.PathEscape(ref.Namespace) + "/" + url.PathEscape(ref.Name) + "/"
}
func sinkPath(ref pipeline.Ref, sink string) string { return refPath(ref) + url.PathEscape(sink) }

// checkNames refuses names that make no key of a store.
func checkNames(ref pipeline.Ref, sink string) error {
	if n := len(sinkPath(ref, sink)); ref.Name == "" || n > meta.MaxKey-len(queueArea)-32 {
		return fmt.Errorf("bus/pipeline/queue: pipeline %.80q with sink %.80q has no name, or one that is too long", ref, sink)
	}
	return nil
}

// Open opens the queue of a sink; see pipeline.Queues. A queue is open once at a time.
func (q *Queues) Open(ctx context.Context, ref pipeline.Ref, sink *v1alpha1.Sink) (pipeline.Queue, error) {
	if err := checkNames(ref, string(sink.Name)); err != nil {
		return nil, err
	}
	set, err := settingsOf(sink)
	if err != nil {
		return nil, fmt.Errorf("bus/pipeline/queue: sink %s: %w", sink.Name, err)
	}
	path := sinkPath(ref, string(sink.Name))
	one := q.newQueue(path, set)
	one.closed = func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.open, path)
	}
	q.mu.Lock()
	_, taken := q.open[path]
	if !taken {
		q.open[path] = one
	}
	q.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("bus/pipeline/queue: the queue of sink %s of pipeline %s is open: close it first", sink.Name, ref)
	}
	if err = q.name(ctx, path); err != nil {
		err = fmt.Errorf("bus/pipeline/queue: %w", err)
	} else {
		err = one.load(ctx)
	}
	if err != nil {
		one.closed()
		return nil, err
	}
	return one, nil
}

func (q *Queues) newQueue(path string, set settings) *queue {
	return &queue{
		set: set, store: q.cfg.Store, prefix: queueArea + path + "/", clock: q.cfg.Clock, log: q.cfg.Logger.With("queue", path),
		wake: make(chan struct{}, 1), done: make(chan struct{}), appending: make(chan struct{}, 1), changing: make(chan struct{}, 1),
		room: make(chan struct{}), closed: func() {},
	}
}

// name notes in the store that there may be records of a path, so that Prune finds them.
func (q *Queues) name(ctx context.Context, path string) error {
	_, err := q.cfg.Store.Get(ctx, namesArea+path)
	if errors.Is(err, meta.ErrNotFound) {
		_, err = q.cfg.Store.Apply(ctx, meta.Op{Key: namesArea + path})
	}
	return err
}

// Prune removes what keep does not want; see pipeline.Queues. Open queues stay. For the dead
// letters of a pipeline keep is asked with an empty sink.
func (q *Queues) Prune(ctx context.Context, keep func(ref pipeline.Ref, sink string) bool) error {
	names, _, err := q.cfg.Store.Keys(ctx, namesArea)
	if err != nil {
		return fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	for _, entry := range names {
		path := strings.TrimPrefix(entry.Key, namesArea)
		ref, sink, ok := parsePath(path)
		if ok && keep(ref, sink) {
			continue
		}
		q.mu.Lock()
		_, open := q.open[path]
		q.mu.Unlock()
		if open {
			continue
		}
		prefix := queueArea + path + "/"
		if sink == "" {
			prefix = deadArea + path
		}
		if err := q.clear(ctx, prefix); err != nil {
			return err
		}
		q.mu.Lock()
		if sink == "" {
			delete(q.letters, path)
			delete(q.named, path)
		}
		q.mu.Unlock()
		if _, err := q.cfg.Store.Apply(ctx, meta.Op{Key: entry.Key, Delete: true}); err != nil {
			return fmt.Errorf("bus/pipeline/queue: %w", err)
		}
	}
	return nil
}

func parsePath(path string) (ref pipeline.Ref, sink string, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 3 {
		return ref, "", false
	}
	for i, p := range parts {
		plain, err := url.PathUnescape(p)
		if err != nil {
			return ref, "", false
		}
		parts[i] = plain
	}
	return pipeline.Ref{Namespace: parts[0], Name: parts[1]}, parts[2], true
}

// clear removes all records with a prefix, some at a time.
func (q *Queues) clear(ctx context.Context, prefix string) error {
	view, err := q.cfg.Store.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	defer view.Close()
	var ops []meta.Op
	flush := func() error {
		_, err := q.cfg.Store.Apply(ctx, ops...)
		ops = nil
		return err
	}
	for r, err := range view.Records(ctx, prefix) {
		if err == nil {
			if ops = append(ops, meta.Op{Key: r.Key, Delete: true}); len(ops) >= 1000 {
				err = flush()
			}
		}
		if err != nil {
			return fmt.Errorf("bus/pipeline/queue: %w", err)
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	return nil
}

// lettersOf gives the dead letters of a pipeline.
func (q *Queues) lettersOf(ref pipeline.Ref) *letters {
	path := refPath(ref)
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.letters[path]
	if d == nil {
		d = &letters{store: q.cfg.Store, prefix: deadArea + path, clock: q.cfg.Clock}
		q.letters[path] = d
	}
	return d
}

// StageDead prepares to add dead letters; see pipeline.Queues.
func (q *Queues) StageDead(ctx context.Context, ref pipeline.Ref, list []pipeline.DeadLetter) (pipeline.Staged, error) {
	if err := checkNames(ref, ""); err != nil {
		return pipeline.Staged{}, err
	}
	if len(list) == 0 {
		return pipeline.Staged{}, nil
	}
	staged, err := q.lettersOf(ref).stage(ctx, list)
	if err != nil {
		return staged, err
	}
	path := refPath(ref)
	q.mu.Lock()
	named := q.named[path]
	q.mu.Unlock()
	if named {
		return staged, nil
	}
	staged.Ops = append(staged.Ops, meta.Op{Key: namesArea + path})
	done := staged.Done
	staged.Done = func(committed bool) {
		done(committed)
		if committed {
			q.mu.Lock()
			q.named[path] = true
			q.mu.Unlock()
		}
	}
	return staged, nil
}

// queueOf gives the queue of a sink: the open one, or one that reads and writes the same
// records while none is open.
func (q *Queues) queueOf(ctx context.Context, ref pipeline.Ref, sink string) (*queue, error) {
	path := sinkPath(ref, sink)
	q.mu.Lock()
	one := q.open[path]
	q.mu.Unlock()
	if one != nil {
		return one, one.load(ctx)
	}
	if _, err := q.cfg.Store.Get(ctx, namesArea+path); errors.Is(err, meta.ErrNotFound) {
		return nil, fmt.Errorf("%w: sink %.80q of pipeline %.80q has no queue", pipeline.ErrNotFound, sink, ref)
	} else if err != nil {
		return nil, fmt.Errorf("bus/pipeline/queue: %w", err)
	}
	set, err := settingsOf(&v1alpha1.Sink{})
	if err != nil {
		return nil, err
	}
	one = q.newQueue(path, set)
	return one, one.load(ctx)
}

// Export calls show with the events that wait for a sink, oldest first. Nothing is removed. A
// pipeline or sink that there is not gives pipeline.ErrNotFound.
func (q *Queues) Export(ctx context.Context, ref pipeline.Ref, sink string, show func(pipeline.Event) error) error {
	one, err := q.queueOf(ctx, ref, sink)
	if err != nil {
		return err
	}
	return one.export(ctx, show)
}

// Drop removes the events of a sink that were stored before a time, or all for the zero time,
// and returns how many. Events that are on the way to the sink may still arrive there.
func (q *Queues) Drop(ctx context.Context, ref pipeline.Ref, sink string, before time.Time) (int64, error) {
	one, err := q.queueOf(ctx, ref, sink)
	if err != nil {
		return 0, err
	}
	return one.drop(ctx, before)
}

// ReplaySent has events sent again that were stored in a time and sent since, as far as the
// queue has kept them, and returns how many. A zero to means now.
func (q *Queues) ReplaySent(ctx context.Context, ref pipeline.Ref, sink string, from, to time.Time) (int64, error) {
	one, err := q.queueOf(ctx, ref, sink)
	if err != nil {
		return 0, err
	}
	return one.replay(ctx, from, to)
}

// DeadLetters calls show with the dead letters of a pipeline, oldest first. id names a letter
// while it is there.
func (q *Queues) DeadLetters(ctx context.Context, ref pipeline.Ref, show func(id string, l pipeline.DeadLetter) error) error {
	return q.lettersOf(ref).each(ctx, nil, func(n uint64, l pipeline.DeadLetter) error { return show(letterID(n), l) })
}

func letterID(n uint64) string { return strconv.FormatUint(n, 10) }

// parseIDs reads ids; none means all, which is nil.
func parseIDs(ids []string) (map[uint64]bool, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	out := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: dead letter %.40q: ids are numbers", pipeline.ErrNotFound, id)
		}
		out[n] = true
	}
	return out, nil
}

// wanted gives the numbers of ids that there are. One that is not there is an error.
func (q *Queues) wanted(ctx context.Context, d *letters, ids []string) ([]uint64, error) {
	numbers, err := parseIDs(ids)
	if err != nil {
		return nil, err
	}
	have, err := d.known(ctx, numbers)
	if err == nil && numbers != nil && len(have) < len(numbers) {
		for n := range numbers {
			if !slices.Contains(have, n) {
				return nil, fmt.Errorf("%w: dead letter %d", pipeline.ErrNotFound, n)
			}
		}
	}
	return have, err
}

// DropDead removes dead letters, or all without ids, and returns how many. If one is not there
// it removes none and returns pipeline.ErrNotFound.
func (q *Queues) DropDead(ctx context.Context, ref pipeline.Ref, ids []string) (int64, error) {
	d := q.lettersOf(ref)
	numbers, err := q.wanted(ctx, d, ids)
	if err != nil {
		return 0, err
	}
	return int64(len(numbers)), d.remove(ctx, numbers)
}

// Replay puts dead letters of sinks, or all without ids, into the queues of their sinks again,
// and returns how many. Letters of steps and sources stay: those are for pipeline.Runner.PushTo.
// If ids name only such letters, Replay returns an error that says so. A kill may put a letter
// into the queue twice.
func (q *Queues) Replay(ctx context.Context, ref pipeline.Ref, ids []string) (int64, error) {
	d := q.lettersOf(ref)
	numbers, err := q.wanted(ctx, d, ids)
	if err != nil {
		return 0, err
	}
	set := make(map[uint64]bool, len(numbers))
	for _, n := range numbers {
		set[n] = true
	}
	count, left := int64(0), ""
	err = d.each(ctx, set, func(n uint64, l pipeline.DeadLetter) error {
		one, err := q.queueOf(ctx, ref, l.Step)
		if errors.Is(err, pipeline.ErrNotFound) {
			left = l.Step
			return nil
		}
		if err == nil {
			l.Event.Resend = true
			err = one.Append(ctx, []pipeline.Event{l.Event})
		}
		if err == nil {
			err = d.remove(ctx, []uint64{n})
		}
		if err == nil {
			count++
		}
		return err
	})
	if err == nil && count == 0 && left != "" {
		err = fmt.Errorf("bus/pipeline/queue: the pipeline has no %q that takes dead letters any more: drop them, or send their events to a source", left)
	}
	return count, err
}
