package manager_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// slowStore is a store whose writes take as long as sync does. It counts them.
type slowStore struct {
	meta.Store
	sync   func()
	writes atomic.Int32
	full   atomic.Bool
}

func (s *slowStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if len(ops) > 0 {
		s.writes.Add(1)
		s.sync()
		if s.full.Load() {
			return 0, fmt.Errorf("store: %w", syscall.ENOSPC)
		}
	}
	return s.Store.Apply(ctx, ops...)
}

func eventNamed(name string) meta.Key {
	return meta.Key{Resource: "events", Namespace: "a", Name: name}
}

// TestAppendsShareWrites: 32 components report at once on a slow disk. The first event is
// written alone, the others together, and a reader waits for neither.
func TestAppendsShareWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{Store: memstore.New(), sync: func() { time.Sleep(time.Second) }}
		defer store.Close()
		m := newManager(t, manager.Config{Store: store})
		appendEvents(t, m, 100, 101)
		source, _, ids := readEvents(t, m)
		store.writes.Store(0)
		begun := time.Now()
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				if err := m.Append(t.Context(), eventNamed(fmt.Sprint(i)), []byte("body")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if e, err := m.EventOutbox().Next(t.Context(), source, 0); err != nil || e.ID != ids[0] || time.Since(begun) > 0 {
			t.Errorf("Next beside a write: %+v, %v after %v", e, err, time.Since(begun))
		}
		if _, err := m.EventOutbox().Next(t.Context(), source, ids[0]); !errors.Is(err, io.EOF) {
			t.Errorf("an event is given out before it is durable: %v", err)
		}
		wg.Wait()
		if n, took := store.writes.Load(), time.Since(begun); n != 2 || took != 2*time.Second {
			t.Errorf("%d writes in %v, want 2 in 2s", n, took)
		}
		if _, names, _ := readEvents(t, m); len(names) != 33 {
			t.Errorf("%d events are kept, want 33", len(names))
		}
	})
}

// TestAppendsThatFail: the disk refuses a write, and a caller gives up while it waits.
// Neither event is stored, and the ids go on.
func TestAppendsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{Store: memstore.New(), sync: func() { time.Sleep(time.Second) }}
		defer store.Close()
		m := newManager(t, manager.Config{Store: store})
		store.full.Store(true)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if err := m.Append(t.Context(), eventNamed(fmt.Sprint(i)), nil); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("event %d on a full disk: %v", i, err)
				}
			})
		}
		wg.Wait()
		store.full.Store(false)
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { must(t, m.Append(t.Context(), eventNamed("first"), []byte("body"))) })
		synctest.Wait()
		wg.Go(func() {
			if err := m.Append(ctx, eventNamed("gave up"), []byte("body")); !errors.Is(err, context.Canceled) {
				t.Errorf("who gives up gets %v", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		if err := m.Append(ctx, eventNamed("too late"), []byte("body")); !errors.Is(err, context.Canceled) {
			t.Errorf("a context that has ended: %v", err)
		}
		must(t, m.Append(t.Context(), eventNamed("second"), []byte("body")))
		if _, names, ids := readEvents(t, m); fmt.Sprint(names, ids) != "[first second] [1 2]" {
			t.Errorf("kept are %q %v", names, ids)
		}
	})
}

// TestAppendsBesideTheLink: components report while the link reads and acknowledges. Each
// event is read once, in the order of its component, and the outbox is empty in the end,
// also after a restart.
func TestAppendsBesideTheLink(t *testing.T) {
	const writers, each = 8, 100
	store := memstore.New()
	defer store.Close()
	m := newManager(t, manager.Config{Store: store})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := m.Append(t.Context(), eventNamed(fmt.Sprintf("%d-%d", w, i)), []byte("body")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wake := make(chan struct{}, 1)
	wake <- struct{}{} // before the subscription, which fills the channel too
	defer m.EventOutbox().Subscribe(func(string) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})()
	seen, next := 0, make(map[int]int)
	for after := uint64(0); seen < writers*each; {
		var source string
		sources, err := m.EventOutbox().Sources(t.Context())
		must(t, err)
		for s := range sources {
			source = s
		}
		e, err := m.EventOutbox().Next(t.Context(), source, after)
		if errors.Is(err, io.EOF) {
			select {
			case <-wake:
			case <-time.After(time.Minute):
				t.Fatalf("%d events of %d were seen", seen, writers*each)
			}
			continue
		}
		must(t, err)
		var w, i int
		if _, err := fmt.Sscanf(e.Key.Name, "%d-%d", &w, &i); err != nil || next[w] != i || e.ID <= after {
			t.Fatalf("event %+v after %d, of its writer %d was expected", e, after, next[w])
		}
		next[w], after = i+1, e.ID
		if seen++; seen%7 == 0 || seen == writers*each {
			must(t, m.EventOutbox().Acked(t.Context(), source, e.ID))
		}
	}
	wg.Wait()
	wantKeys(t, store, meta.Local+"manager/events/")
	again := newManager(t, manager.Config{Store: store})
	appendEvents(t, again, 0, 1)
	if _, _, ids := readEvents(t, again); len(ids) != 1 || ids[0] != writers*each+1 {
		t.Errorf("the next start goes on with %v", ids)
	}
}

// TestSubscribersMayCall: a subscriber ends its subscription while it is being called,
// which needs the lock of the outbox.
func TestSubscribersMayCall(t *testing.T) {
	m := newManager(t, manager.Config{})
	run(t, m)
	called := make(chan hub.Key, 10)
	var stop func()
	stopped := make(chan struct{})
	stop = m.StateOutbox().Subscribe(func(k hub.Key) {
		stop()
		called <- k
		close(stopped)
	})
	must(t, m.Update(t.Context(), object("nodes", "n", "x")))
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("the outbox waits for itself")
	}
	must(t, m.Update(t.Context(), object("nodes", "n", "y")))
	must(t, m.MetaSync(t.Context(), meta.Key{}))
	if k := <-called; k.Name != "n" || len(called) > 0 {
		t.Errorf("told of %v, and %d more", k, len(called))
	}
}
