package push

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// The records of the store:
//
//	local/push/target/<key>               the schema.PushMethod of a target
//	local/push/data/<key>/<number>-<n>    n readings (JSON)
const (
	targetArea = meta.Local + "push/target/"
	dataArea   = meta.Local + "push/data/"
)

// queue holds the readings of one target until its sink has taken them.
type queue struct {
	p      *Pusher
	target target
	sink   Sink
	wake   chan struct{}

	mu      sync.Mutex
	next    uint64  // number of the next record
	entries []entry // that are stored, oldest first
	count   int     // readings in entries
	taken   int     // readings of the first entry that the sink has taken
}

// entry is a record.
type entry struct {
	number uint64
	count  int
}

func (e entry) key(target string) string {
	return fmt.Sprintf("%s%s/%016x-%d", dataArea, target, e.number, e.count)
}

func byNumber(a, b entry) int { return cmp.Compare(a.number, b.number) }

func newQueue(p *Pusher, t target, sink Sink) *queue {
	return &queue{p: p, target: t, sink: sink, wake: make(chan struct{}, 1)}
}

// loadQueues makes the queues of all targets that have readings from an earlier run.
func loadQueues(ctx context.Context, p *Pusher) ([]*queue, error) {
	stored, _, err := p.cfg.Store.List(ctx, targetArea)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*queue
	for _, r := range stored {
		key := strings.TrimPrefix(r.Key, targetArea)
		keys, _, err := p.cfg.Store.Keys(ctx, dataArea+key+"/")
		if err != nil {
			return nil, err
		}
		if len(keys) == 0 {
			if _, err := p.cfg.Store.Apply(ctx, meta.Op{Key: r.Key, Delete: true}); err != nil {
				return nil, err
			}
			continue
		}
		var push schema.PushMethod
		if err := jsonlimit.Unmarshal(r.Value, &push); err != nil {
			p.cfg.Logger.Warn("readings of an unreadable target stay unsent", "key", r.Key, "err", err)
			continue
		}
		targets, err := targetsOf(&push)
		if err != nil || len(targets) != 1 || targets[0].key != key {
			continue // stored by a release with other fields: the device brings it back
		}
		if q, isNew := p.queueLocked(ctx, targets[0]); isNew {
			list = append(list, q)
		}
	}
	return list, nil
}

// load takes over the records of an earlier run.
func (q *queue) load(ctx context.Context) error {
	keys, _, err := q.p.cfg.Store.Keys(ctx, dataArea+q.target.key+"/")
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range keys {
		number, count, _ := strings.Cut(k.Key[strings.LastIndexByte(k.Key, '/')+1:], "-")
		n, err1 := strconv.ParseUint(number, 16, 64)
		c, err2 := strconv.Atoi(count)
		if err1 != nil || err2 != nil || c < 1 {
			continue
		}
		q.entries = append(q.entries, entry{n, c})
		q.count += c
		q.next = max(q.next, n+1)
	}
	slices.SortFunc(q.entries, byNumber)
	return nil
}

func (q *queue) saveTarget(ctx context.Context) error {
	raw, err := json.Marshal(q.target.push)
	if err != nil {
		return err
	}
	_, err = q.p.cfg.Store.Apply(ctx, meta.Op{Key: targetArea + q.target.key, Value: raw})
	return err
}

func (q *queue) waiting() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.count - q.taken)
}

// put stores readings, and drops the oldest if there are too many.
func (q *queue) put(ctx context.Context, readings []Reading) error {
	slices.SortFunc(readings, func(a, b Reading) int { return strings.Compare(a.Property, b.Property) })
	raw, err := json.Marshal(readings)
	if err != nil {
		return err
	}
	q.mu.Lock()
	e := entry{q.next, len(readings)}
	q.next++
	ops := []meta.Op{{Key: e.key(q.target.key), Value: raw}}
	for q.count+e.count > q.p.cfg.MaxReadings && len(q.entries) > 0 {
		oldest := q.entries[0]
		q.entries, q.count = q.entries[1:], q.count-oldest.count
		q.p.dropped.Add(int64(oldest.count - q.taken))
		q.taken = 0
		ops = append(ops, meta.Op{Key: oldest.key(q.target.key), Delete: true})
	}
	q.mu.Unlock()
	if _, err := q.p.cfg.Store.Apply(ctx, ops...); err != nil {
		return err
	}
	q.mu.Lock()
	q.entries = append(q.entries, e)
	q.count += e.count
	if n := len(q.entries); n > 1 && q.entries[n-2].number > e.number { // another report was faster
		slices.SortFunc(q.entries, byNumber)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// run sends readings until ctx ends.
func (q *queue) run(ctx context.Context) {
	log := q.p.cfg.Logger.With("method", q.target.method, "target", q.target.key)
	defer func() {
		if err := q.sink.Close(); err != nil {
			log.Debug("sink does not close", "err", err)
		}
	}()
	failed := 0
	for {
		var err error
		entries, skip := q.oldest()
		if len(entries) > 0 {
			err = q.send(ctx, entries, skip)
		}
		switch {
		case ctx.Err() != nil:
			return
		case len(entries) == 0:
			select {
			case <-q.wake:
			case <-ctx.Done():
				return
			}
		case err == nil:
			if failed > 0 {
				log.Info("sink takes readings again", "waiting", q.waiting())
			}
			failed = 0
		case errors.Is(err, ErrRefused):
			log.Warn("a reading is refused and dropped", "err", err)
		default:
			if failed == 0 {
				log.Warn("sink takes no readings; they are kept, and this is logged once", "err", err)
			}
			wait := q.p.cfg.Backoff << min(failed, 6)
			failed++
			select {
			case <-time.After(wait/2 + rand.N(wait/2+1)): //nolint:gosec // jitter needs no secrecy
			case <-ctx.Done():
				return
			}
		}
	}
}

// oldest returns the records with the oldest readings, a batch at most, and how many readings
// of the first the sink has.
func (q *queue) oldest() (entries []entry, skip int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	count := 0
	for _, e := range q.entries {
		if count > 0 && count+e.count > q.p.cfg.Batch {
			break
		}
		entries, count = append(entries, e), count+e.count
	}
	return entries, q.taken
}

// send gives readings to the sink, and removes those that it takes or refuses. A record that
// is unreadable or was dropped meanwhile counts as taken.
func (q *queue) send(ctx context.Context, entries []entry, skip int) error {
	var readings []Reading
	var last []int // for each record, the number of readings up to its end
	for i, e := range entries {
		r, err := q.p.cfg.Store.Get(ctx, e.key(q.target.key))
		if err != nil && !errors.Is(err, meta.ErrNotFound) {
			return err
		}
		var part []Reading
		if err == nil {
			if err = jsonlimit.Unmarshal(r.Value, &part); err != nil {
				q.p.lost.Add(int64(e.count))
			}
		}
		if i == 0 {
			part = part[min(skip, len(part)):]
		}
		readings = append(readings, part...)
		last = append(last, len(readings))
	}
	n, err := 0, error(nil)
	if len(readings) > 0 {
		writing, cancel := context.WithTimeout(ctx, q.p.cfg.Timeout)
		defer cancel()
		n, err = q.write(writing, readings)
		n = max(0, min(n, len(readings)))
	}
	q.p.sent.Add(int64(n))
	if err != nil && errors.Is(err, ErrRefused) && n < len(readings) {
		err = fmt.Errorf("%s of %s: %w", readings[n].Property, readings[n].Device, err)
		q.p.refused.Add(1)
		n++
	}
	done := 0 // records that were sent whole
	for done < len(last) && last[done] <= n {
		done++
	}
	partial := n
	if done > 0 {
		partial -= last[done-1]
	} else {
		partial += skip
	}
	return errors.Join(err, q.remove(ctx, entries, done, partial))
}

// remove removes the first records of entries, as far as put has not dropped them. partial is
// how many readings of the next one the sink has.
func (q *queue) remove(ctx context.Context, entries []entry, done, partial int) error {
	q.mu.Lock()
	var ops []meta.Op
	for _, e := range entries[:done] {
		if len(q.entries) > 0 && q.entries[0].number == e.number {
			q.entries, q.count, q.taken = q.entries[1:], q.count-e.count, 0
			ops = append(ops, meta.Op{Key: e.key(q.target.key), Delete: true})
		}
	}
	if done < len(entries) && len(q.entries) > 0 && q.entries[0].number == entries[done].number {
		q.taken = partial
	}
	q.mu.Unlock()
	if len(ops) == 0 {
		return nil
	}
	// What was sent is gone even if ctx has ended meanwhile.
	_, err := q.p.cfg.Store.Apply(context.WithoutCancel(ctx), ops...)
	return err
}

// write is Sink.Write; a panic is an error.
func (q *queue) write(ctx context.Context, readings []Reading) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, fmt.Errorf("device/push: sink panics: %v", p)
		}
	}()
	if n, err = q.sink.Write(ctx, readings); err == nil && n < len(readings) {
		err = fmt.Errorf("device/push: sink took %d of %d readings and says no error", n, len(readings))
	}
	return n, err
}
