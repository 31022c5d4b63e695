package rules_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/rules"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// fakeBus records what is published and lets tests publish.
type fakeBus struct {
	mu        sync.Mutex
	published []string
	refuse    error
	handlers  map[string]bus.Handler
}

func (b *fakeBus) Publish(_ context.Context, m bus.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		return b.refuse
	}
	b.published = append(b.published, m.Topic+" "+string(m.Payload))
	return nil
}

func (b *fakeBus) Subscribe(filter string, h bus.Handler) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.handlers == nil {
		b.handlers = make(map[string]bus.Handler)
	}
	b.handlers[filter] = h
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.handlers, filter)
	}, nil
}

func (b *fakeBus) filters() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for f := range b.handlers {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

func (b *fakeBus) messages() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.published)
}

func (b *fakeBus) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = err
}

func putRule(t *testing.T, store meta.Store, name, source string) {
	t.Helper()
	key := meta.Key{Resource: "rules", Namespace: "plant", Name: name}
	op := meta.Op{Key: meta.Down + key.Path(), Delete: source == ""}
	if source != "" {
		op.Value = meta.EncodeObject(meta.Object{Key: key, Version: "1", Body: []byte(`{"spec":{"sourceResource":` + source + `}}`)})
	}
	if _, err := store.Apply(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, store meta.Store, b rules.Bus, change func(*rules.Config)) *rules.Rules {
	t.Helper()
	cfg := rules.Config{Store: store, Bus: b, Node: "edge-7", Listen: "127.0.0.1:0"}
	if change != nil {
		change(&cfg)
	}
	r, err := rules.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func start(t *testing.T, r *rules.Rules) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func newStore(t *testing.T) meta.Store {
	t.Helper()
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	return store
}

// TestWithoutRules: a node without rules has one waiting goroutine and no port.
func TestWithoutRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		r := open(t, store, &fakeBus{}, nil)
		before := runtime.NumGoroutine()
		stop := start(t, r)
		synctest.Wait()
		// Run, and the watch of the store.
		if n := runtime.NumGoroutine() - before; n > 2 {
			t.Errorf("%d goroutines without rules", n)
		}
		if r.LocalAddr() != nil {
			t.Error("a port is open without rules")
		}
		stop()
	})
}

// TestFollow: rules count when they are stored, change and end with their records; one that
// cannot be read keeps its former form.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, b := newStore(t), &fakeBus{}
		putRule(t, store, "a", `{"topic":"/one/#","node_name":"edge-7"}`)
		r := open(t, store, b, nil)
		stop := start(t, r)
		wants := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got := b.filters(); !slices.Equal(got, want) {
				t.Errorf("subscribed %q, want %q", got, want)
			}
		}
		wants("plant/one/#")
		putRule(t, store, "a", `{"topic":"two","node_name":"edge-7"}`)
		putRule(t, store, "b", `{"topic":"$hw/events/upload/x"}`)
		wants("$hw/events/upload/x", "plant/two")
		putRule(t, store, "a", `{"topic":5}`)
		putRule(t, store, "c", `{"topic":"a/#/b"}`)
		wants("$hw/events/upload/x", "plant/two")
		putRule(t, store, "b", "")
		wants("plant/two")
		stop()
		wants()
	})
}

// TestQueue: messages are stored in order; retained and oversized ones are not.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, b := newStore(t), &fakeBus{}
		putRule(t, store, "a", `{"topic":"x"}`)
		r := open(t, store, b, nil)
		stop := start(t, r)
		synctest.Wait()
		send := b.handlers["plant/x"]
		for i := range 300 {
			send(t.Context(), bus.Message{Topic: "plant/x", Payload: fmt.Append(nil, i)})
		}
		send(t.Context(), bus.Message{Topic: "plant/x", Payload: []byte("old"), Retain: true})
		send(t.Context(), bus.Message{Topic: "plant/x", Payload: make([]byte, wire.MaxPayload+1)})
		synctest.Wait()
		if s := r.Stats(); s.Queued != 300 || s.Waiting != 300 || s.TooLarge != 1 {
			t.Errorf("counted %+v", s)
		}
		sources, err := r.Outbox().Sources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for source := range sources {
			for after := range uint64(300) {
				e, err := r.Outbox().Next(t.Context(), source, after)
				if err != nil {
					t.Fatal(err)
				}
				m, err := wire.DecodeMessage(e.Body)
				if err != nil || string(m.Payload) != fmt.Sprint(after) || e.Key.Name != "a" || e.Key.Resource != "rules/messages" {
					t.Fatalf("event %d is %+v %q, %v", after, e.Key, m.Payload, err)
				}
			}
		}
		stop()
	})
}

// TestInbox: messages from the cloud are published in order and once, also after a restart
// and while the broker takes none.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, b := newStore(t), &fakeBus{}
		b.set(bus.ErrNotRunning)
		event := func(id uint64, topic string) hub.Event {
			m := wire.Message{Topic: topic, Payload: fmt.Append(nil, id)}
			return hub.Event{Source: "s/1", ID: id, Key: hub.Key{Resource: "rules/messages", Namespace: "plant", Name: "a"}, Body: m.Encode()}
		}
		r := open(t, store, b, nil)
		if err := r.Inbox().Append(t.Context(), "s/1", []hub.Event{event(3, "t"), event(5, "t")}); err != nil {
			t.Fatal(err)
		}
		r = open(t, store, b, nil) // a restart
		marks, err := r.Inbox().Marks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for source, id := range marks {
			if source != "s/1" || id != 5 {
				t.Errorf("mark %s %d", source, id)
			}
		}
		stop := start(t, r)
		synctest.Wait()
		if err := r.Inbox().Append(t.Context(), "s/1", []hub.Event{event(6, "t")}); err != nil {
			t.Fatal(err)
		}
		b.set(nil)
		time.Sleep(time.Minute)
		if got := b.messages(); !slices.Equal(got, []string{"t 3", "t 5", "t 6"}) {
			t.Errorf("published %q", got)
		}
		for name, e := range map[string]hub.Event{
			"topic of edgecore": event(7, "$hw/events/device/a/b/twin/cloud_updated"), "wildcard": event(7, "a/#"),
			"no message": {Source: "s/1", ID: 7, Key: hub.Key{Resource: "rules/messages", Name: "a"}, Body: []byte("\xff")},
			"resource":   {Source: "s/1", ID: 7, Key: hub.Key{Resource: "pods", Name: "a"}},
		} {
			err := r.Inbox().Append(t.Context(), "s/1", []hub.Event{e})
			if refused, ok := errors.AsType[*hub.Error](err); !ok || !refused.Final() {
				t.Errorf("%s: %v", name, err)
			}
		}
		stop()
		left, _, err := store.Keys(t.Context(), meta.Local+"rules/publish/")
		if err != nil || len(left) != 0 {
			t.Errorf("the store keeps %v, %v", left, err)
		}
	})
}

func TestConfig(t *testing.T) {
	good := rules.Config{Store: newStore(t), Bus: &fakeBus{}, Node: "n"}
	for name, change := range map[string]func(*rules.Config){
		"Store":        func(c *rules.Config) { c.Store = nil },
		"Listen":       func(c *rules.Config) { c.Listen = "0.0.0.0:9060" },
		"AllowedHosts": func(c *rules.Config) { c.AllowedHosts = []string{"*"} },
		"MaxEvents":    func(c *rules.Config) { c.MaxEvents = -1 },
		"Timeout":      func(c *rules.Config) { c.Timeout = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := rules.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Example carries messages of a node's rule to the cloud's outbox.
func Example() {
	store := memstore.New()
	defer store.Close()
	mqtt, err := bus.New(bus.Config{Internal: bustest.New()})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := rules.New(rules.Config{Store: store, Bus: mqtt, Node: "edge-7"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Stats().Rules, "rules")
	// Output: 0 rules
}
