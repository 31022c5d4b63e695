package manager_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

var ruleKey = meta.Key{Resource: "rules/messages", Namespace: "plant", Name: "lamp"}

func openQueues(t *testing.T, cfg manager.EventQueuesConfig) *manager.EventQueues {
	t.Helper()
	if cfg.Store == nil {
		store := memstore.New()
		t.Cleanup(func() { store.Close() })
		cfg.Store = store
	}
	cfg.Area = meta.Local + "test/"
	q, err := manager.NewEventQueues(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// namedQueues shows queues under their names, where the suite wants names as sources.
type namedQueues struct {
	*manager.EventQueues
	store meta.Store

	mu             sync.Mutex
	source, queued map[string]string
}

func (n *namedQueues) add(ctx context.Context, name, body string) error {
	stop := n.EventQueues.Subscribe(func(source string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.source[name] == "" {
			n.source[name], n.queued[source] = source, name
		}
	})
	defer stop()
	return n.Append(ctx, name, ruleKey, []byte(body))
}

func (n *namedQueues) list(ctx context.Context) []string {
	all, err := n.EventQueues.Sources(ctx)
	if err != nil {
		return nil
	}
	return slices.Collect(all)
}

func (n *namedQueues) of(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.source[name]
}

// name is the queue of a source. While the suite's subscriber is called, add may not have
// seen the source of a new queue yet: the store has it.
func (n *namedQueues) name(source string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name := n.queued[source]; name != "" {
		return name
	}
	records, _, _ := n.store.List(context.Background(), meta.Local+"test/source/")
	for _, r := range records {
		if strings.Contains(string(r.Value), source) {
			return strings.TrimPrefix(r.Key, meta.Local+"test/source/")
		}
	}
	return ""
}

func (n *namedQueues) Sources(ctx context.Context) (iter.Seq[string], error) {
	var names []string
	for _, s := range n.list(ctx) {
		names = append(names, n.name(s))
	}
	return slices.Values(names), nil
}

func (n *namedQueues) Next(ctx context.Context, name string, after uint64) (hub.Event, error) {
	e, err := n.EventQueues.Next(ctx, n.of(name), after)
	e.Source = name
	return e, err
}

func (n *namedQueues) Acked(ctx context.Context, name string, id uint64) error {
	return n.EventQueues.Acked(ctx, n.of(name), id)
}

func (n *namedQueues) Subscribe(appended func(string)) func() {
	return n.EventQueues.Subscribe(func(source string) {
		appended(n.name(source))
	})
}

// TestEventQueuesAreAnOutbox checks the queues against the contract of a hub.Outbox, alone
// and as a part of Outboxes.
func TestEventQueuesAreAnOutbox(t *testing.T) {
	open := func(t *testing.T, store meta.Store) *namedQueues {
		return &namedQueues{EventQueues: openQueues(t, manager.EventQueuesConfig{Store: store}), store: store, source: map[string]string{}, queued: map[string]string{}}
	}
	hubtest.RunOutbox(t, hubtest.OutboxSuite{
		Open: func(t *testing.T) hub.Outbox {
			store := memstore.New()
			t.Cleanup(func() { store.Close() })
			return open(t, store)
		},
		Append: func(ctx context.Context, o hub.Outbox, source, body string) error {
			return o.(*namedQueues).add(ctx, source, body)
		},
		Reopen: func(t *testing.T, o hub.Outbox) hub.Outbox {
			old := o.(*namedQueues)
			n := open(t, old.store)
			n.source, n.queued = old.source, old.queued
			return n
		},
	})
}

func bodies(t *testing.T, o hub.Outbox) []string {
	t.Helper()
	all, err := o.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for source := range all {
		for after := uint64(0); ; {
			e, err := o.Next(t.Context(), source, after)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			after = e.ID
			out = append(out, string(e.Body))
		}
	}
	return out
}

// TestEventQueuesAreBounded: a full queue drops its own oldest events, by number and by
// bytes, also after a restart, and counts them.
func TestEventQueuesAreBounded(t *testing.T) {
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	cfg := manager.EventQueuesConfig{Store: store, MaxEvents: 3}
	q := openQueues(t, cfg)
	for i := range 5 {
		if err := q.Append(t.Context(), "a", ruleKey, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	q = openQueues(t, cfg)
	if err := q.Append(t.Context(), "a", ruleKey, []byte("5"), []byte("6")); err != nil {
		t.Fatal(err)
	}
	if got := bodies(t, q); !slices.Equal(got, []string{"4", "5", "6"}) {
		t.Errorf("kept %q", got)
	}
	if s := q.Stats(); s.Dropped != 2 || s.Events != 3 {
		t.Errorf("counted %+v", s)
	}
	q = openQueues(t, manager.EventQueuesConfig{Store: store, MaxBytes: 1})
	if err := q.Append(t.Context(), "a", ruleKey, []byte("7")); err != nil {
		t.Fatal(err)
	}
	if got := bodies(t, q); !slices.Equal(got, []string{"7"}) {
		t.Errorf("kept %q: the newest stays", got)
	}
	records, _, err := store.Keys(t.Context(), meta.Local+"test/event/")
	if err != nil || len(records) != 1 {
		t.Errorf("the store has %v, %v", records, err)
	}
}

// TestEventQueueRemove: an empty queue leaves nothing in the store; one with events stays.
func TestEventQueueRemove(t *testing.T) {
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	q := openQueues(t, manager.EventQueuesConfig{Store: store})
	if err := q.Append(t.Context(), "a/b", ruleKey, []byte("1")); err != nil {
		t.Fatal(err)
	}
	remove := func() int {
		if err := q.Remove(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
		records, _, err := store.Keys(t.Context(), meta.Local+"test/")
		if err != nil {
			t.Fatal(err)
		}
		return len(records)
	}
	if n := remove(); n != 2 {
		t.Errorf("%d records of a queue with an event", n)
	}
	all, err := q.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for source := range all {
		if err := q.Acked(t.Context(), source, 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := remove(); n != 0 {
		t.Errorf("%d records of an empty queue", n)
	}
	if names, err := q.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("removed, and still named: %q, %v", names, err)
	}
	if err := q.Append(t.Context(), "a/b", ruleKey, []byte("2")); err != nil {
		t.Fatal(err)
	}
	if got := bodies(t, q); !slices.Equal(got, []string{"2"}) {
		t.Errorf("the queue that is made again has %q", got)
	}
}

// TestEventQueueRemoveAndAppend: an Append that runs beside Remove loses nothing.
func TestEventQueueRemoveAndAppend(t *testing.T) {
	q := openQueues(t, manager.EventQueuesConfig{})
	const events = 200
	var group sync.WaitGroup
	group.Go(func() {
		for range events {
			if err := q.Append(t.Context(), "a", ruleKey, []byte("x")); err != nil {
				t.Error(err)
			}
		}
	})
	group.Go(func() {
		for range events {
			if err := q.Remove(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	if got := bodies(t, q); len(got) != events {
		t.Errorf("%d events, want %d", len(got), events)
	}
}

// smallStore refuses batches of many changes, as a store does with those of many bytes.
type smallStore struct{ meta.Store }

func (s smallStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if len(ops) > 1200 {
		return 0, meta.ErrTooLarge
	}
	return s.Store.Apply(ctx, ops...)
}

// TestEventQueuesManyRemoved: bounds that are lower than in an earlier run, and an
// acknowledgement of many events, make no batch that the store refuses.
func TestEventQueuesManyRemoved(t *testing.T) {
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	q := openQueues(t, manager.EventQueuesConfig{Store: smallStore{store}})
	block := slices.Repeat([][]byte{[]byte("x")}, 1000)
	for _, name := range []string{"a", "b"} {
		for range 3 {
			if err := q.Append(t.Context(), name, ruleKey, block...); err != nil {
				t.Fatal(err)
			}
		}
	}
	q = openQueues(t, manager.EventQueuesConfig{Store: smallStore{store}, MaxEvents: 1})
	for range 4 {
		if err := q.Append(t.Context(), "a", ruleKey, []byte("y")); err != nil {
			t.Fatal(err)
		}
	}
	if s := q.Stats(); s.Events != 3001 || s.Dropped != 3003 {
		t.Errorf("counted %+v", s)
	}
	all, err := q.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for source := range all {
		if err := q.Acked(t.Context(), source, 5000); err != nil {
			t.Fatal(err)
		}
	}
	if s := q.Stats(); s.Acked != 3001 {
		t.Errorf("counted %+v", s)
	}
	if keys, _, err := store.Keys(t.Context(), meta.Local+"test/event/"); err != nil || len(keys) != 0 {
		t.Errorf("acknowledged, and %d events are left, %v", len(keys), err)
	}
}

// TestOutboxes: several outboxes are one; each source's events come from its own.
func TestOutboxes(t *testing.T) {
	m := newManager(t, manager.Config{})
	q := openQueues(t, manager.EventQueuesConfig{})
	both := manager.Outboxes(m.EventOutbox(), q)
	var notified []string
	stop := both.Subscribe(func(source string) { notified = append(notified, source) })
	if err := m.Append(t.Context(), meta.Key{Resource: "events", Namespace: "x", Name: "e"}, []byte("event")); err != nil {
		t.Fatal(err)
	}
	if err := q.Append(t.Context(), "a", ruleKey, []byte("message")); err != nil {
		t.Fatal(err)
	}
	stop()
	if len(notified) != 2 || !strings.HasPrefix(notified[0], "node-") || !strings.HasPrefix(notified[1], "queue-") {
		t.Errorf("notified of %q", notified)
	}
	if got := bodies(t, both); !slices.Equal(got, []string{"event", "message"}) {
		t.Errorf("has %q", got)
	}
	for _, source := range notified {
		if err := both.Acked(t.Context(), source, 1); err != nil {
			t.Fatal(err)
		}
	}
	if got := bodies(t, both); len(got) != 0 {
		t.Errorf("acknowledged, and still has %q", got)
	}
	if _, err := both.Next(t.Context(), "other", 0); !errors.Is(err, io.EOF) {
		t.Errorf("an unknown source: %v", err)
	}
	if err := both.Acked(t.Context(), "other", 1); err != nil {
		t.Errorf("an unknown source: %v", err)
	}
}

func TestEventQueuesBadInput(t *testing.T) {
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	for _, cfg := range []manager.EventQueuesConfig{{}, {Store: store, Area: "down/x/"}, {Store: store, Area: "local/x"}, {Store: store, Area: "local/x/", MaxEvents: -1}} {
		if _, err := manager.NewEventQueues(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	q := openQueues(t, manager.EventQueuesConfig{Store: store})
	if err := q.Append(t.Context(), "", ruleKey, nil); err == nil {
		t.Error("a queue without a name")
	}
	if err := q.Append(t.Context(), "a", meta.Key{}, nil); err == nil {
		t.Error("an event without a key")
	}
	if err := q.Append(t.Context(), "a", ruleKey, make([]byte, meta.MaxValue+1)); !errors.Is(err, meta.ErrTooLarge) {
		t.Errorf("an event that is too large: %v", err)
	}
}
