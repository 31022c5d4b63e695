package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/internal/value"
	"github.com/edgekit/edgekit/meta"
)

// stored is what a record takes, and how many events are in it.
type stored struct {
	cost   int64
	events int64
}

// tail is what appends change. It has a record of its own, so that appends and the sender
// write without waiting for each other.
type tail struct {
	next   uint64 // number of the next record
	bytes  int64  // that were ever appended, as cost
	events int64  // that were ever appended
}

// state is what the queue knows of its records.
type state struct {
	tail
	pending spans          // records that wait
	kept    spans          // records that were sent and stay for a replay
	split   uint64         // records below it are the backlog
	taken   map[uint64]int // events at the beginning of a record that were sent or refused
	out     tail           // what is not there any more: bytes, and events that do not wait
}

func (s *state) size() int64    { return s.bytes - s.out.bytes }
func (s *state) waiting() int64 { return s.events - s.out.events }

// forget takes a record out of the state. It reports whether the record has waited.
func (s *state) forget(n uint64, r stored) bool {
	one := span{n, n + 1}
	waited := s.pending.has(n)
	if waited {
		s.out.events += r.events - int64(s.taken[n])
		s.pending.remove(one)
		delete(s.taken, n)
	}
	if waited || s.kept.has(n) {
		s.out.bytes += r.cost
		s.kept.remove(one)
	}
	s.settle()
	return waited
}

// keep moves a record from those that wait to those that are kept.
func (s *state) keep(n uint64, r stored) {
	if !s.pending.has(n) {
		return
	}
	s.out.events += r.events - int64(s.taken[n])
	s.pending.remove(span{n, n + 1})
	delete(s.taken, n)
	s.kept.add(span{n, n + 1})
	s.settle()
}

// again moves a record from those that are kept to those that wait.
func (s *state) again(n uint64, events int64) bool {
	if !s.kept.has(n) {
		return false
	}
	s.kept.remove(span{n, n + 1})
	s.pending.add(span{n, n + 1})
	s.out.events -= events
	s.settle()
	return true
}

// settle ends the drift of the sums that damaged and missing records leave.
func (s *state) settle() {
	if len(s.pending) == 0 {
		s.out.events = s.events
		if len(s.kept) == 0 {
			s.out.bytes = s.bytes
		}
	}
	if len(s.kept) > maxSpans {
		s.kept.bound()
		for _, p := range s.pending {
			s.kept.remove(p)
		}
		s.kept.bound()
	}
	if len(s.pending) > maxSpans {
		s.pending.bound() // what was kept between two that wait is sent again
		for _, p := range s.pending {
			s.kept.remove(p)
		}
	}
}

func (t tail) encode() []byte {
	b := binary.AppendUvarint(nil, t.next)
	b = binary.AppendVarint(b, t.bytes)
	return seal(binary.AppendVarint(b, t.events))
}

func decodeTail(b []byte) (tail, error) {
	content, err := unseal(b)
	if err != nil {
		return tail{}, err
	}
	r := value.NewReader(content)
	t := tail{next: r.Uint(), bytes: r.Int(), events: r.Int()}
	if r.Err() != nil || r.Len() > 0 {
		return tail{}, errDamaged
	}
	return t, nil
}

// encode returns the record of all that the tail does not have, and the next number as it is
// now: what was appended since, waits.
func (s *state) encode() []byte {
	b := binary.AppendUvarint(nil, s.next)
	b = binary.AppendUvarint(b, s.split)
	b = binary.AppendVarint(b, s.out.bytes)
	b = binary.AppendVarint(b, s.out.events)
	for _, set := range []spans{s.pending, s.kept} {
		b = binary.AppendUvarint(b, uint64(len(set)))
		for _, a := range set {
			b = binary.AppendUvarint(binary.AppendUvarint(b, a.from), a.to)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.taken)))
	for _, n := range slices.Sorted(maps.Keys(s.taken)) {
		b = binary.AppendUvarint(binary.AppendUvarint(b, n), uint64(s.taken[n]))
	}
	return seal(b)
}

func decodeState(b []byte) (state, error) {
	content, err := unseal(b)
	if err != nil {
		return state{}, err
	}
	r := value.NewReader(content)
	s := state{taken: make(map[uint64]int)}
	s.next, s.split = r.Uint(), r.Uint()
	s.out.bytes, s.out.events = r.Int(), r.Int()
	for _, set := range []*spans{&s.pending, &s.kept} {
		last := uint64(0)
		for i := range r.Count(2) {
			a := span{r.Uint(), r.Uint()}
			if a.from >= a.to || i > 0 && a.from <= last || a.to > s.next {
				return state{}, errDamaged
			}
			last = a.to
			*set = append(*set, a)
		}
	}
	for range r.Count(2) {
		n := r.Uint()
		s.taken[n] = int(min(r.Uint(), maxRecord))
	}
	if r.Err() != nil || r.Len() > 0 {
		return state{}, errDamaged
	}
	return s, nil
}

// load reads the state of an earlier run, once.
func (q *queue) load(ctx context.Context) error {
	q.mu.Lock()
	loaded := q.loaded
	q.mu.Unlock()
	if loaded {
		return nil
	}
	if err := q.acquire(ctx, q.changing); err != nil {
		return err
	}
	defer func() { <-q.changing }()
	q.mu.Lock()
	loaded = q.loaded
	q.mu.Unlock()
	if loaded { // another one was faster
		return nil
	}
	s, err := q.read(ctx)
	if err != nil {
		return fmt.Errorf("bus/pipeline/queue: read what is stored: %w", err)
	}
	var oldest time.Time
	if n, ok := s.pending.next(0); ok {
		if d, _, _, err := q.get(ctx, n); err == nil && d != nil {
			oldest = d.stored
		}
	}
	s.split = s.next // whatever waits is a backlog
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state, q.oldest, q.loaded = s, oldest, true
	return nil
}

// read reads the two records. If they are damaged, or there are none, it looks at all records.
func (q *queue) read(ctx context.Context) (state, error) {
	rawTail, err1 := q.store.Get(ctx, q.tailKey())
	rawState, err2 := q.store.Get(ctx, q.stateKey())
	for _, err := range []error{err1, err2} {
		if err != nil && !errors.Is(err, meta.ErrNotFound) {
			return state{}, err
		}
	}
	t, err := decodeTail(rawTail.Value)
	if err1 != nil || err != nil {
		return q.scan(ctx, err1 == nil || err2 == nil)
	}
	s := state{taken: make(map[uint64]int)}
	if err2 == nil {
		if s, err = decodeState(rawState.Value); err != nil || s.next > t.next {
			return q.scan(ctx, true)
		}
	}
	s.pending.add(span{s.next, t.next})
	s.tail = t
	return s, nil
}

// scan makes the state from the records themselves; all of them wait.
func (q *queue) scan(ctx context.Context, damaged bool) (state, error) {
	view, err := q.store.Snapshot(ctx)
	if err != nil {
		return state{}, err
	}
	defer view.Close()
	s := state{taken: make(map[uint64]int)}
	prefix := q.prefix + "d/"
	for r, err := range view.Records(ctx, prefix) {
		if err != nil {
			return state{}, err
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(r.Key, prefix), 16, 64)
		if err != nil {
			continue
		}
		s.pending.add(span{n, n + 1})
		s.pending.bound()
		s.next = max(s.next, n+1)
		s.bytes += q.cost(len(r.Value))
		if d, err := decodeRecord(r.Value); err == nil {
			s.events += int64(d.count)
		}
	}
	if !damaged {
		return s, nil
	}
	q.log.Warn("the queue's state was damaged; it was made anew from the events, of which some may be sent twice", "events", s.events)
	// Its numbers go on well above those that the damaged record may have given.
	s.next += 1 << 20
	_, err = q.store.Apply(ctx, meta.Op{Key: q.tailKey(), Value: s.tail.encode()}, meta.Op{Key: q.stateKey(), Value: s.encode()})
	return s, err
}
