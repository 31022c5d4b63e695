package pleg_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/edged/pleg"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a runtime whose lists and events a test controls.
type source struct {
	mu     sync.Mutex
	items  map[string]pleg.Item
	lists  int
	events chan string // nil: there are none
}

func (s *source) Snapshot(context.Context) (map[string]pleg.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	out := make(map[string]pleg.Item)
	for k, v := range s.items {
		out[k] = v
	}
	return out, nil
}

func (s *source) set(id string, item pleg.Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[id] = item
}

func (s *source) Events(ctx context.Context, fn func(string)) error {
	if s.events == nil {
		return fmt.Errorf("fake: %w", pleg.ErrNoEvents)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case uid, ok := <-s.events:
			if !ok {
				return errors.New("stream broke")
			}
			fn(uid)
		}
	}
}

type log struct {
	mu   sync.Mutex
	uids []string
}

func (l *log) add(uid string) { l.mu.Lock(); l.uids = append(l.uids, uid); l.mu.Unlock() }

func (l *log) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.uids
	l.uids = nil
	slices.Sort(out)
	return out
}

func TestRelist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, seen := &source{items: map[string]pleg.Item{"c1": {"p1", "running"}}}, &log{}
		w, err := pleg.New(pleg.Config{Source: src, Changed: seen.add})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		synctest.Wait()
		if got := seen.take(); !slices.Equal(got, []string{"p1"}) {
			t.Errorf("first list: %v", got)
		}
		src.set("c1", pleg.Item{"p1", "exited"})
		src.set("c2", pleg.Item{"p2", "created"})
		time.Sleep(1100 * time.Millisecond)
		if got := seen.take(); !slices.Equal(got, []string{"p1", "p2"}) {
			t.Errorf("changes: %v", got)
		}
		time.Sleep(5 * time.Second)
		if got := seen.take(); len(got) > 0 {
			t.Errorf("without change: %v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, seen := &source{items: map[string]pleg.Item{}, events: make(chan string)}, &log{}
		w, _ := pleg.New(pleg.Config{Source: src, Changed: seen.add})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		src.events <- "p1"
		synctest.Wait()
		if got := seen.take(); !slices.Equal(got, []string{"p1"}) {
			t.Errorf("event: %v", got)
		}
		time.Sleep(2 * time.Minute) // events flow: lists are rare
		src.mu.Lock()
		if src.lists > 8 {
			t.Errorf("%d lists in two minutes", src.lists)
		}
		src.mu.Unlock()
		src.set("c9", pleg.Item{"p9", "running"}) // an event without a pod's uid asks for a list
		src.events <- ""
		synctest.Wait()
		if got := seen.take(); !slices.Equal(got, []string{"p9"}) {
			t.Errorf("list after event: %v", got)
		}
		close(src.events) // the stream breaks: lists take over at once
		src.set("c9", pleg.Item{"p9", "exited"})
		time.Sleep(2 * time.Second)
		if got := seen.take(); !slices.Equal(got, []string{"p9"}) {
			t.Errorf("list after break: %v", got)
		}
		cancel()
		<-done
	})
}

func ExampleNew() {
	_, err := pleg.New(pleg.Config{})
	fmt.Println(err)
	// Output: pleg: Config.Source is required
}

// TestFromRuntime shows a runtime with one sandbox that died and one that runs, and one that
// sends no events.
func TestFromRuntime(t *testing.T) {
	rt := runtimetest.New()
	var ids []string
	for _, uid := range []string{"dead", "alive"} {
		id, err := rt.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: uid, UID: uid})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		if uid == "dead" {
			rt.KillSandboxes()
		}
	}
	got, err := pleg.FromRuntime(rt).Snapshot(t.Context())
	want := map[string]pleg.Item{ids[0]: {PodUID: "dead", State: "false"}, ids[1]: {PodUID: "alive", State: "true"}}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	rt.FailReadsWith(func(string) error { return errors.New("it is away") })
	if _, err := pleg.FromRuntime(rt).Snapshot(t.Context()); err == nil {
		t.Error("a runtime that is away gives a snapshot")
	}
	if err := pleg.FromRuntime(silent{rt}).Events(t.Context(), func(string) {}); !errors.Is(err, pleg.ErrNoEvents) {
		t.Errorf("a runtime without events: %v, want ErrNoEvents", err)
	}
}

// silent is a runtime that sends no events.
type silent struct{ *runtimetest.Runtime }

func (silent) Events(context.Context, func(runtime.Event)) error { return runtime.ErrNoEvents }
