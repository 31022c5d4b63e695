package manager

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// eventArea holds the events that are not acknowledged, under their ids;
// sequenceKey the name of their sequence and the last id used.
const (
	eventArea   = meta.Local + "manager/events/"
	sequenceKey = meta.Local + "manager/sequence"
)

// sequence is the value of sequenceKey.
type sequence struct {
	Source string `json:"source"`
	Last   uint64 `json:"last"`
}

// EventOutbox is the hub.Outbox of this node's events. It has one source, so that all
// events of the node keep their order. It belongs to a Manager.
//
// It holds at most Config.MaxEvents events; a further one drops the oldest. The newest
// event of each name can be read in meta.Events, within the same bound. A new store gets
// a new random source name: a node that lost its store must not use ids again that its
// peer has seen.
type EventOutbox struct {
	m *Manager

	// writing is held by the Append that writes for all waiting ones.
	writing chan struct{}

	// mu guards the fields below. It is not held while the store writes.
	mu      sync.Mutex
	pending []*appending // not in a batch yet, in order
	loaded  bool
	seq     sequence
	ids     []uint64 // the stored events, oldest first
	recent  []string // keys in meta.Events, oldest first; changed only by the holder of writing

	subs subscribers[string] // get the source
}

// appending is one event on its way into the store.
type appending struct {
	key   meta.Key
	seen  meta.Op // its record in meta.Events
	value []byte  // its record in eventArea
	done  chan struct{}
	err   error // set before done is closed
}

func (a *appending) size() int {
	return len(a.value) + len(a.seen.Key) + len(a.seen.Value) + 2*len(sequenceKey) + 256
}

var _ hub.Outbox = (*EventOutbox)(nil)

// Append reports an event, which no later event replaces. key is the event's object.
// Append returns when the event is durable in the outbox.
func (m *Manager) Append(ctx context.Context, key meta.Key, body []byte) error {
	if !key.Valid() {
		return fmt.Errorf("meta/manager: %w", invalid(key, "key cannot be stored"))
	}
	a := &appending{
		key: key, value: encodeEvent(key, body), done: make(chan struct{}),
		seen: meta.Op{Key: meta.Events + key.Path(), Value: meta.EncodeObject(meta.Object{Key: key, Body: body, Stored: m.cfg.Now()})},
	}
	if err := meta.CheckOps([]meta.Op{{Key: eventKey(0), Value: a.value}, a.seen}); err != nil {
		if errors.Is(err, meta.ErrTooLarge) {
			return fmt.Errorf("meta/manager: %w: %w", err, invalid(key, "too large"))
		}
		return fmt.Errorf("meta/manager: %w", err)
	}
	if err := m.events.append(ctx, a); err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	m.events.subs.call(m.events.source())
	return nil
}

// append has one event stored. Those that come while others are being written
// wait, and are then written together by one of them: events keep their order,
// and share a sync of the disk.
func (e *EventOutbox) append(ctx context.Context, a *appending) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e.mu.Lock()
	e.pending = append(e.pending, a)
	e.mu.Unlock()
	for {
		select {
		case <-a.done:
			return a.err
		case e.writing <- struct{}{}:
			// The batch holds events of other callers too, so it is not cancelled.
			e.write(context.WithoutCancel(ctx))
			<-e.writing
		case <-ctx.Done():
			if e.withdraw(a) {
				return context.Cause(ctx)
			}
			<-a.done
			return a.err
		}
	}
}

// withdraw removes an event that is not in a batch yet.
func (e *EventOutbox) withdraw(a *appending) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.Index(e.pending, a)
	if i >= 0 {
		e.pending = slices.Delete(e.pending, i, i+1)
	}
	return i >= 0
}

// write stores the waiting events, as many as fit into one batch. Only the holder of
// writing calls it.
func (e *EventOutbox) write(ctx context.Context) {
	batch, ops, after, err := e.prepare(ctx)
	if err == nil && len(batch) > 0 {
		_, err = e.m.store.Apply(ctx, ops...)
	}
	if err == nil && len(batch) > 0 {
		e.written(after)
	}
	for _, a := range batch {
		a.err = err
		close(a.done)
	}
}

// change is how a batch changes the outbox.
type change struct {
	seq     sequence
	added   []uint64
	dropped []uint64 // the oldest, which are too many
	recent  []string
}

// prepare makes the batch of the waiting events, and of the removal of the oldest events
// above the bound.
func (e *EventOutbox) prepare(ctx context.Context) (batch []*appending, ops []meta.Op, after change, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	size := 0
	for len(e.pending) > 0 && len(batch) < e.m.cfg.MaxEvents && (len(batch) == 0 || size+e.pending[0].size() <= meta.MaxBatch/2) {
		size += e.pending[0].size()
		batch, e.pending = append(batch, e.pending[0]), e.pending[1:]
	}
	if len(batch) == 0 {
		e.pending = nil
		return nil, nil, after, nil
	}
	if err := e.loadLocked(ctx); err != nil {
		return batch, nil, after, err
	}
	after.seq, after.recent = e.seq, slices.Clone(e.recent)
	after.dropped = slices.Clone(e.ids[:max(len(e.ids)+len(batch)-e.m.cfg.MaxEvents, 0)])
	for _, id := range after.dropped {
		ops = append(ops, meta.Op{Key: eventKey(id), Delete: true})
	}
	for _, a := range batch {
		after.seq.Last++
		after.added = append(after.added, after.seq.Last)
		ops = append(ops, meta.Op{Key: eventKey(after.seq.Last), Value: a.value})
		after.recent = append(slices.DeleteFunc(after.recent, func(k string) bool { return k == a.seen.Key }), a.seen.Key)
		ops = append(ops, a.seen)
	}
	old := max(len(after.recent)-e.m.cfg.MaxEvents, 0)
	for _, k := range after.recent[:old] {
		ops = append(ops, meta.Op{Key: k, Delete: true})
	}
	after.recent = after.recent[old:]
	text, err := json.Marshal(after.seq)
	return batch, append(ops, meta.Op{Key: sequenceKey, Value: text}), after, err
}

// written updates the outbox after a batch is durable. Events may have been acknowledged
// since prepare; those were the oldest too.
func (e *EventOutbox) written(after change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(after.dropped); n > 0 {
		e.dropLocked(after.dropped[n-1])
		if total := e.m.stats.eventsDropped.Add(uint64(n)); total%100 < uint64(n) || total == uint64(n) {
			e.m.log.Warn("outbox is full: oldest event dropped; logged once in a hundred", "limit", e.m.cfg.MaxEvents, "dropped", total)
		}
	}
	e.seq, e.ids, e.recent = after.seq, append(e.ids, after.added...), after.recent
}

// dropLocked forgets the ids up to one; it needs mu.
func (e *EventOutbox) dropLocked(id uint64) {
	n, found := slices.BinarySearch(e.ids, id)
	if found {
		n++
	}
	e.ids = e.ids[n:]
}

// source is the source's name.
func (e *EventOutbox) source() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seq.Source
}

// loadLocked reads what an earlier run left; it needs mu.
func (e *EventOutbox) loadLocked(ctx context.Context) error {
	if e.loaded {
		return nil
	}
	r, err := e.m.store.Get(ctx, sequenceKey)
	switch {
	case errors.Is(err, meta.ErrNotFound):
		e.seq = sequence{Source: "node-" + rand.Text()}
	case err != nil:
		return err
	case json.Unmarshal(r.Value, &e.seq) != nil || e.seq.Source == "":
		e.m.log.Warn("stored sequence of events cannot be read; a new one is started", "key", sequenceKey)
		e.seq = sequence{Source: "node-" + rand.Text()}
	}
	list, _, err := e.m.store.Keys(ctx, eventArea)
	if err != nil {
		return err
	}
	e.ids = nil
	for _, r := range list { // in the order of their keys, which is that of their ids
		if id, err := strconv.ParseUint(strings.TrimPrefix(r.Key, eventArea), 10, 64); err == nil {
			e.ids = append(e.ids, id)
			e.seq.Last = max(e.seq.Last, id)
		}
	}
	if list, _, err = e.m.store.Keys(ctx, meta.Events); err != nil {
		return err
	}
	slices.SortFunc(list, func(x, y meta.Entry) int { return cmp.Compare(x.Revision, y.Revision) })
	e.recent = nil
	for _, r := range list {
		e.recent = append(e.recent, r.Key)
	}
	e.loaded = true
	return nil
}

// encodeEvent makes the stored form of an event: its key's path, a zero byte and its body.
func encodeEvent(key meta.Key, body []byte) []byte {
	return append(append([]byte(key.Path()), 0), body...)
}

// decodeEvent reads what encodeEvent made.
func decodeEvent(b []byte) (key hub.Key, body []byte, ok bool) {
	path, body, _ := bytes.Cut(b, []byte{0})
	k, ok := meta.ParsePath(string(path))
	return hub.Key(k), body, ok
}

func eventKey(id uint64) string { return fmt.Sprintf("%s%020d", eventArea, id) }

// Sources yields the node's one source, if it has events.
func (e *EventOutbox) Sources(ctx context.Context) (iter.Seq[string], error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.loadLocked(ctx); err != nil {
		return nil, fmt.Errorf("meta/manager: %w", err)
	}
	source, some := e.seq.Source, len(e.ids) > 0
	return func(yield func(string) bool) {
		if some {
			yield(source)
		}
	}, nil
}

// Next reads the oldest event whose id is larger than after, or returns io.EOF.
func (e *EventOutbox) Next(ctx context.Context, source string, after uint64) (hub.Event, error) {
	for {
		id, err := e.nextID(ctx, source, after)
		if err != nil {
			return hub.Event{}, err
		}
		after = id
		r, err := e.m.store.Get(ctx, eventKey(id))
		if errors.Is(err, meta.ErrNotFound) {
			continue // dropped or acknowledged since
		}
		if err != nil {
			return hub.Event{}, fmt.Errorf("meta/manager: %w", err)
		}
		if key, body, ok := decodeEvent(r.Value); ok {
			return hub.Event{Source: source, ID: id, Key: key, Body: body}, nil
		}
		e.m.log.Warn("stored event cannot be read", "key", r.Key)
	}
}

// nextID returns the oldest id that is larger than after, or io.EOF.
func (e *EventOutbox) nextID(ctx context.Context, source string, after uint64) (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.loadLocked(ctx); err != nil {
		return 0, fmt.Errorf("meta/manager: %w", err)
	}
	i, _ := slices.BinarySearch(e.ids, after+1)
	if source != e.seq.Source || i == len(e.ids) {
		return 0, io.EOF
	}
	return e.ids[i], nil
}

// Acked forgets the events of the source up to id.
func (e *EventOutbox) Acked(ctx context.Context, source string, id uint64) error {
	ops, err := e.forgetOps(ctx, source, id)
	if err == nil && len(ops) > 0 {
		_, err = e.m.store.Apply(ctx, ops...)
	}
	if err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	if len(ops) > 0 {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.dropLocked(id)
	}
	return nil
}

// forgetOps lists the removal of the source's events up to id.
func (e *EventOutbox) forgetOps(ctx context.Context, source string, id uint64) (ops []meta.Op, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.loadLocked(ctx); err != nil || source != e.seq.Source {
		return nil, err
	}
	for _, have := range e.ids {
		if have > id {
			break
		}
		ops = append(ops, meta.Op{Key: eventKey(have), Delete: true})
	}
	return ops, nil
}

// Subscribe has appended called for each new event, until stop is called.
func (e *EventOutbox) Subscribe(appended func(source string)) (stop func()) {
	return e.subs.add(appended)
}

// waiting is how many events are not acknowledged, as far as was read.
func (e *EventOutbox) waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.ids)
}
