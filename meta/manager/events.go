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

// Events is the outbox of this node's events as the link sees it: a hub.Outbox
// with one source, so that all events of the node keep their order. It belongs
// to a Manager.
//
// It is bounded by Config.MaxEvents: one more drops the oldest. The newest event
// of each name stays readable in meta.Events, within the same bound. The source's
// name is made up when the store is new: one that lost its store does not begin
// anew with ids that its peer has seen.
type Events struct {
	m *Manager

	mu     sync.Mutex
	loaded bool
	seq    sequence
	ids    []uint64 // what is stored, oldest first
	recent []string // keys in meta.Events, oldest first
	subs   map[int]func(source string)
	next   int
}

var _ hub.Outbox = (*Events)(nil)

// Append reports an event: something that happened, which no later one
// replaces. It returns when the event is durable in the outbox; key says what it
// is about.
func (m *Manager) Append(ctx context.Context, key meta.Key, body []byte) error {
	if !key.Valid() {
		return fmt.Errorf("manager: %w", invalid(key, "key cannot be stored"))
	}
	source, subs, err := m.events.append(ctx, key, body)
	if err != nil {
		if errors.Is(err, meta.ErrTooLarge) {
			return fmt.Errorf("manager: %w: %w", err, invalid(key, "too large"))
		}
		return fmt.Errorf("manager: %w", err)
	}
	for _, appended := range subs {
		appended(source)
	}
	return nil
}

// append stores one event, with the drop of those that are too many, as one
// batch.
func (e *Events) append(ctx context.Context, key meta.Key, body []byte) (source string, subs []func(string), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.loadLocked(ctx); err != nil {
		return "", nil, err
	}
	seq := sequence{e.seq.Source, e.seq.Last + 1}
	text, err := json.Marshal(seq)
	if err != nil {
		return "", nil, err
	}
	value := append(append([]byte(key.Path()), 0), body...)
	ops := []meta.Op{{Key: eventKey(seq.Last), Value: value}, {Key: sequenceKey, Value: text}}
	excess := max(len(e.ids)+1-e.m.cfg.MaxEvents, 0)
	for _, id := range e.ids[:excess] {
		ops = append(ops, meta.Op{Key: eventKey(id), Delete: true})
	}
	seen := meta.Events + key.Path()
	recent := slices.DeleteFunc(slices.Clone(e.recent), func(k string) bool { return k == seen })
	old := max(len(recent)+1-e.m.cfg.MaxEvents, 0)
	for _, k := range recent[:old] {
		ops = append(ops, meta.Op{Key: k, Delete: true})
	}
	ops = append(ops, meta.Op{Key: seen, Value: meta.EncodeObject(meta.Object{Key: key, Body: body, Stored: e.m.cfg.Now()})})
	if _, err := e.m.store.Apply(ctx, ops...); err != nil {
		return "", nil, err
	}
	e.seq = seq
	e.ids, e.recent = append(e.ids[excess:], seq.Last), append(recent[old:], seen)
	if n := uint64(excess); n > 0 && e.m.stats.eventsDropped.Add(n)%100 == n {
		e.m.log.Warn("outbox is full: oldest event dropped; told once in a hundred", "limit", e.m.cfg.MaxEvents, "dropped", e.m.stats.eventsDropped.Load())
	}
	for _, appended := range e.subs {
		subs = append(subs, appended)
	}
	return seq.Source, subs, nil
}

// loadLocked reads what an earlier run left; it needs mu.
func (e *Events) loadLocked(ctx context.Context) error {
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
		e.m.log.Warn("stored sequence of events cannot be read; another begins", "key", sequenceKey)
		e.seq = sequence{Source: "node-" + rand.Text()}
	}
	list, _, err := e.m.store.List(ctx, eventArea)
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
	if list, _, err = e.m.store.List(ctx, meta.Events); err != nil {
		return err
	}
	slices.SortFunc(list, func(x, y meta.Record) int { return cmp.Compare(x.Revision, y.Revision) })
	e.recent = nil
	for _, r := range list {
		e.recent = append(e.recent, r.Key)
	}
	e.loaded = true
	return nil
}

func eventKey(id uint64) string { return fmt.Sprintf("%s%020d", eventArea, id) }

// Sources yields the node's one source, if it has events.
func (e *Events) Sources(ctx context.Context) (iter.Seq[string], error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.loadLocked(ctx); err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	source, some := e.seq.Source, len(e.ids) > 0
	return func(yield func(string) bool) {
		if some {
			yield(source)
		}
	}, nil
}

// Next reads the oldest event with an id above after, or gives io.EOF.
func (e *Events) Next(ctx context.Context, source string, after uint64) (hub.Event, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.loadLocked(ctx); err != nil {
		return hub.Event{}, fmt.Errorf("manager: %w", err)
	}
	if source != e.seq.Source {
		return hub.Event{}, io.EOF
	}
	i, _ := slices.BinarySearch(e.ids, after+1)
	for ; i < len(e.ids); i++ {
		r, err := e.m.store.Get(ctx, eventKey(e.ids[i]))
		if err != nil {
			return hub.Event{}, fmt.Errorf("manager: %w", err)
		}
		path, body, _ := bytes.Cut(r.Value, []byte{0})
		if key, ok := meta.ParsePath(string(path)); ok {
			return hub.Event{Source: source, ID: e.ids[i], Key: hub.Key(key), Body: body}, nil
		}
		e.m.log.Warn("stored event cannot be read", "key", r.Key)
	}
	return hub.Event{}, io.EOF
}

// Acked forgets the events of the source up to id.
func (e *Events) Acked(ctx context.Context, source string, id uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.loadLocked(ctx); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if source != e.seq.Source {
		return nil
	}
	n, found := slices.BinarySearch(e.ids, id)
	if found {
		n++
	}
	ops := make([]meta.Op, 0, n)
	for _, id := range e.ids[:n] {
		ops = append(ops, meta.Op{Key: eventKey(id), Delete: true})
	}
	if len(ops) == 0 {
		return nil
	}
	if _, err := e.m.store.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	e.ids = e.ids[n:]
	return nil
}

// Subscribe has appended called for each new event, until stop is called.
func (e *Events) Subscribe(appended func(source string)) (stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	id := e.next
	e.subs[id] = appended
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subs, id)
	}
}

// waiting is how many events are not acknowledged, as far as was read.
func (e *Events) waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.ids)
}
