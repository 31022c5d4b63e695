package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// slowStore is a store that waits before each write.
type slowStore struct {
	meta.Store
	wait func()
}

func (s slowStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	s.wait()
	return s.Store.Apply(ctx, ops...)
}

// noReporter takes nothing.
type noReporter struct{ Reporter }

func newAppendHost(t *testing.T, wait func(), change func(*Config)) *Host {
	t.Helper()
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	cfg := Config{Store: slowStore{store, wait}, Reporter: noReporter{}, Node: "edge-7", Folder: "/f", Program: "/p"}
	change(&cfg)
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestAppendAtOnce: no batch whose storing was confirmed is dropped because others come at the
// same time.
func TestAppendAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newAppendHost(t, func() { time.Sleep(time.Second) }, func(c *Config) { c.MaxBytes = 1 << 20 })
		body := make([]byte, 1<<20)
		var taken atomic.Int64
		var work sync.WaitGroup
		for i := range 32 {
			work.Go(func() {
				key := meta.Key{Resource: wire.Pipelines, Namespace: "plant", Name: "a"}
				err := h.append(t.Context(), key, &wire.Batch{Sink: fmt.Sprintf("s%d", i%8), URL: "http://x", Events: 1, Body: body})
				switch {
				case err == nil:
					taken.Add(1)
				case !errors.Is(err, errFull):
					t.Error(err)
				}
			})
		}
		work.Wait()
		if s := h.queues.Stats(); s.Dropped > 0 || int64(s.Events) != taken.Load() || s.Events == 0 {
			t.Errorf("%d batches were confirmed: %+v", taken.Load(), s)
		}
	})
}

// TestAppendBesideAFullSink: sinks whose URLs take nothing hold up no other, as far as there is
// room.
func TestAppendBesideAFullSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newAppendHost(t, func() { time.Sleep(time.Second) }, func(c *Config) { c.MaxBytes = 1000 })
		put := func(sink string) error {
			key := meta.Key{Resource: wire.Pipelines, Namespace: "plant", Name: "a"}
			return h.append(t.Context(), key, &wire.Batch{Sink: sink, URL: "http://x", Events: 1, Body: make([]byte, 600)})
		}
		for i, full := range []bool{false, false, true} {
			if err := put("down"); errors.Is(err, errFull) != full {
				t.Errorf("batch %d of the sink: %v", i, err)
			}
		}
		if err := put("other"); err != nil {
			t.Errorf("a full sink holds up another: %v", err)
		}
		var err error
		for i := 0; err == nil && i < 100; i++ {
			err = put(fmt.Sprintf("more-%d", i))
		}
		if s := h.queues.Stats(); !errors.Is(err, errFull) || s.Bytes > 5000 || s.Dropped > 0 {
			t.Errorf("many sinks: %v, %+v", err, s)
		}
	})
}

// TestBrokerAway: while the broker is away one session is tried at a time: changes of Pipelines wait
// meanwhile.
func TestBrokerAway(t *testing.T) {
	tries, away := 0, true
	h := newAppendHost(t, func() {}, func(c *Config) {
		c.EndSession = func(context.Context, string) error {
			if tries++; away {
				return errors.New("no broker")
			}
			return nil
		}
	})
	h.sessions = map[string]struct{}{"a": {}, "b": {}, "c": {}}
	if done := h.clean(t.Context()); done || tries != 1 || len(h.sessions) != 3 {
		t.Errorf("after %d tries: %v", tries, h.sessions)
	}
	away = false
	if done := h.clean(t.Context()); !done || tries != 4 || len(h.sessions) != 0 {
		t.Errorf("the broker is back: after %d tries %v", tries, h.sessions)
	}
}
