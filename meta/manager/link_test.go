package manager_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// farSide is the cloud of the link test: it counts how often each report
// arrives, and answers queries.
type farSide struct {
	mu      sync.Mutex
	got     map[string]int    // deliveries, by key and body
	last    map[string]string // newest body, by key
	deleted []string
	events  []string // names, in the order of their arrival
}

func (f *farSide) Attach(context.Context, hub.Hello) (hub.Node, error) {
	return hub.Node{Up: f, Inbox: f}, nil
}

// Marks yields nothing: what the far side has applied is in got.
func (f *farSide) Marks(context.Context) (iter.Seq2[string, uint64], error) {
	return maps.All(map[string]uint64{}), nil
}

func (f *farSide) Append(_ context.Context, _ string, events []hub.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		f.got[e.Key.String()+"="+string(e.Body)]++
		f.events = append(f.events, e.Key.Name)
	}
	return nil
}

func (f *farSide) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	return maps.All(map[hub.Key]string{}), nil
}

func (f *farSide) Apply(_ context.Context, objects []hub.Object) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range objects {
		if o.Deleted {
			f.deleted = append(f.deleted, o.Key.String()+"="+string(o.Body))
			continue
		}
		f.got[o.Key.String()+"="+string(o.Body)]++
		f.last[o.Key.String()] = string(o.Body)
	}
	return nil
}

// check checks what arrived: three rounds of 50 events and reports, and one deletion.
func (f *farSide) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for delivery, n := range f.got {
		if n != 1 {
			t.Errorf("%s came %d times", delivery, n)
		}
	}
	if len(f.last) != 1 || f.last["nodes/a/n"] != "2-49" {
		t.Errorf("%d keys came, node %s; want 1, 2-49", len(f.last), f.last["nodes/a/n"])
	}
	for i := range 150 {
		if want := fmt.Sprintf("%d-%d", i/50, i%50); len(f.events) != 150 || f.events[i] != want {
			t.Fatalf("%d events came, want 150 in their order; number %d is not %s: %q", len(f.events), i, want, f.events)
		}
	}
	if len(f.deleted) != 1 || f.deleted[0] != "pods/a/p=how" {
		t.Errorf("deleted %q", f.deleted)
	}
}

// TestLink runs a Manager on a real link with a long round trip, cuts it, and restores
// it: every event arrives once, the newest state arrives, a forgotten key is never taken
// for a deletion, and nothing is sent twice.
func TestLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store := memstore.New()
		defer store.Close()
		far := &farSide{got: make(map[string]int), last: make(map[string]string)}
		network := memconn.New(memconn.Config{Delay: 100 * time.Millisecond})
		var mux hub.Mux
		mux.Handle("secrets", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) {
			return hub.Message{Version: "4", Body: []byte("secret of " + r.Node)}, nil
		}))
		server, err := hub.NewServer(hub.ServerConfig{Listener: network, Directory: far, Mux: &mux})
		must(t, err)

		link, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("gate-7"), Node: "gate-7"})
		must(t, err)
		m := newManager(t, manager.Config{Store: store, Caller: link})
		endpoints := hub.Endpoints{
			Down: m.Down(), Up: m.StateOutbox(), Outbox: m.EventOutbox(),
			Connected: []func(hub.Info){func(i hub.Info) {
				if err := m.NodeConnection(ctx, i); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}},
		}
		stop := run(t, m)

		report := func(round int) {
			for i := range 50 {
				must(t, m.Append(t.Context(), meta.Key{Resource: "events", Namespace: "a", Name: fmt.Sprintf("%d-%d", round, i)}, []byte("x")))
				must(t, m.Update(t.Context(), object("nodes", "n", fmt.Sprintf("%d-%d", round, i))))
			}
		}
		report(0) // before there is a cloud
		done := make(chan error, 2)
		go func() { done <- server.Run(ctx) }()
		go func() { done <- link.Serve(ctx, endpoints) }()
		time.Sleep(10 * time.Second)
		report(1)
		must(t, m.Delete(t.Context(), object("pods", "p", "how")))
		time.Sleep(10 * time.Second)
		wantPending(t, m)
		if o, err := m.Query(ctx, meta.Object{Key: meta.Key{Resource: "secrets", Namespace: "a", Name: "s"}}); err != nil || string(o.Body) != "secret of gate-7" {
			t.Errorf("Query over the link: %q, %v", o.Body, err)
		}

		network.Cut("gate-7")
		report(2)
		time.Sleep(time.Minute)
		wantPending(t, m)
		if !m.Connection().Connected {
			t.Errorf("link is %+v", m.Connection())
		}

		if n := m.Stats().EventsWaiting; n != 0 {
			t.Errorf("%d events wait", n)
		}
		far.check(t)
		stop()
		cancel()
		for range 2 {
			must(t, <-done)
		}
	})
}
