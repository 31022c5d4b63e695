package manager_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestOutbox(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	m := newManager(t, manager.Config{Store: store})
	must(t, m.Update(t.Context(), object("nodes", "n", "1")))
	must(t, m.Delete(t.Context(), object("pods", "p", "how")))
	wantPending(t, m, "nodes/a/n", "pods/a/p")

	n, p := load(t, m, "nodes", "n"), load(t, m, "pods", "p")
	if string(n.Body) != "1" || n.Deleted || !p.Deleted || string(p.Body) != "how" {
		t.Errorf("loaded %+v, %+v", n, p)
	}
	if _, err := strconv.ParseUint(n.Version, 10, 64); err != nil {
		t.Errorf("version %q is not decimal", n.Version)
	}
	ack(t, m, n, p)
	wantPending(t, m)
	wantKeys(t, store, meta.Up, "up/nodes/a/n")
	wantKeys(t, store, meta.Acked, "acked/nodes/a/n")
	ack(t, m, n, p) // at least once

	must(t, m.Update(t.Context(), object("nodes", "n", "1")))
	wantPending(t, m)
	must(t, m.Update(t.Context(), object("nodes", "n", "2")))
	wantPending(t, m, "nodes/a/n")
	if again := load(t, m, "nodes", "n"); m.StateOutbox().Compare(again.Version, n.Version) <= 0 {
		t.Errorf("version %s is not newer than %s", again.Version, n.Version)
	}
}

// TestAckOfAnOldValue acknowledges a value that was replaced meanwhile: the new value is
// still sent.
func TestAckOfAnOldValue(t *testing.T) {
	m := newManager(t, manager.Config{})
	must(t, m.Delete(t.Context(), ending("e", "1")))
	must(t, m.Update(t.Context(), object("nodes", "n", "1")))
	e, n := load(t, m, "pods", "e"), load(t, m, "nodes", "n")
	must(t, m.Delete(t.Context(), ending("e", "2")))
	must(t, m.Update(t.Context(), object("nodes", "n", "2")))
	ack(t, m, e, n)
	wantPending(t, m, "nodes/a/n", "pods/a/e")
}

func TestCompare(t *testing.T) {
	up := newManager(t, manager.Config{}).StateOutbox()
	ordered := []string{"", "9", "10", "99999999999", "18446744073709551615"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := up.Compare(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("Compare(%q, %q) = %d", a, b, got)
			}
		}
	}
}

// subscriber collects the keys with which it is called.
type subscriber struct {
	mu   sync.Mutex
	keys []string
}

func (s *subscriber) changed(k hub.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, k.Name)
}

func (s *subscriber) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.keys
	s.keys = nil
	return keys
}

func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, manager.Config{})
		must(t, m.Update(t.Context(), object("nodes", "before", "1")))
		var s subscriber
		unsubscribe := m.StateOutbox().Subscribe(s.changed)
		stop := run(t, m)
		synctest.Wait()
		if got := s.take(); !slices.Equal(got, []string{"before"}) {
			t.Errorf("told %q at the start", got)
		}
		must(t, m.Update(t.Context(), object("nodes", "n", "1")))
		must(t, m.Update(t.Context(), object("nodes", "n", "1"))) // a repeat
		synctest.Wait()
		if got := s.take(); !slices.Equal(got, []string{"n"}) {
			t.Errorf("told %q of one report and its repeat", got)
		}
		ack(t, m, load(t, m, "nodes", "n"))
		must(t, m.Delete(t.Context(), ending("e", "1")))
		synctest.Wait()
		if got := s.take(); !slices.Equal(got, []string{"e"}) {
			t.Errorf("told %q of a deletion", got)
		}
		ack(t, m, load(t, m, "pods", "e"))
		synctest.Wait()
		if got := s.take(); got != nil {
			t.Errorf("told %q of what was acknowledged", got)
		}
		unsubscribe()
		must(t, m.Update(t.Context(), object("nodes", "n", "2")))
		synctest.Wait()
		if got := s.take(); got != nil {
			t.Errorf("told %q after the end", got)
		}
		stop()
	})
}

// TestLoadedReportsAreNotNotified delays the notification of a report until the link has
// loaded it: to send a report again that was forgotten meanwhile would do harm.
func TestLoadedReportsAreNotNotified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, manager.Config{})
		must(t, m.Delete(t.Context(), ending("e", "1")))
		var s subscriber
		defer m.StateOutbox().Subscribe(s.changed)()
		o := load(t, m, "pods", "e")
		ack(t, m, o)
		must(t, m.Delete(t.Context(), ending("f", "1")))
		load(t, m, "pods", "f")
		stop := run(t, m)
		synctest.Wait()
		if got := s.take(); got != nil {
			t.Errorf("told %q", got)
		}
		// A new object with the same name is a new report.
		must(t, m.Delete(t.Context(), ending("e", "2")))
		must(t, m.Delete(t.Context(), ending("f", "2")))
		synctest.Wait()
		if got := s.take(); !slices.Equal(got, []string{"e", "f"}) {
			t.Errorf("told %q", got)
		}
		stop()
	})
}

// TestStateIsBounded: objects beyond the limit are refused, updates of existing ones are
// accepted.
func TestStateIsBounded(t *testing.T) {
	m := newManager(t, manager.Config{MaxState: 3})
	for i := range 3 {
		must(t, m.Update(t.Context(), object("nodes", fmt.Sprint(i), "1")))
	}
	if err := m.Update(t.Context(), object("nodes", "3", "1")); !errors.Is(err, manager.ErrOutboxFull) {
		t.Errorf("one too many: %v", err)
	}
	err := m.Insert(t.Context(), meta.Object{Key: meta.Key{Resource: "nodes", Name: "4"}})
	if !errors.Is(err, manager.ErrOutboxFull) {
		t.Errorf("one too many, by Insert: %v", err)
	}
	must(t, m.Update(t.Context(), object("nodes", "1", "2")))
	wantPending(t, m, "nodes/a/0", "nodes/a/1", "nodes/a/2")
	must(t, m.Delete(t.Context(), object("nodes", "0", "how")))
	ack(t, m, load(t, m, "nodes", "0"))
	must(t, m.Update(t.Context(), object("nodes", "3", "1"))) // there is room again
	if n := m.Stats().StateRefused; n != 2 {
		t.Errorf("%d counted as refused, want 2", n)
	}
}

func TestMetaSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, manager.Config{})
		run(t, m)
		for _, name := range []string{"x", "y", "z"} {
			must(t, m.Update(t.Context(), object("nodes", name, "1")))
			ack(t, m, load(t, m, "nodes", name))
		}
		synctest.Wait()
		var s subscriber
		defer m.StateOutbox().Subscribe(s.changed)()
		must(t, m.MetaSync(t.Context(), meta.Key{Resource: "nodes", Namespace: "a", Name: "y"}))
		wantPending(t, m, "nodes/a/y")
		must(t, m.MetaSync(t.Context(), meta.Key{}))
		wantPending(t, m, "nodes/a/x", "nodes/a/y", "nodes/a/z")
		synctest.Wait()
		if got := s.take(); len(got) != 3 {
			t.Errorf("told %q, want x, y and z", got)
		}
	})
}

func TestReportRefuses(t *testing.T) {
	m := newManager(t, manager.Config{})
	for _, o := range []meta.Object{{}, object("nodes", "a/b", ""), {Key: meta.Key{Resource: "nodes", Name: "n"}, Body: make([]byte, meta.MaxValue+1)}} {
		if err := m.Update(t.Context(), o); err == nil {
			t.Errorf("%s with %d bytes was taken", o.Key, len(o.Body))
		}
	}
	wantPending(t, m)
}

// TestConcurrentReports writes state and deletions from several goroutines while
// they are acknowledged: at the end nothing is left but the newest state.
func TestConcurrentReports(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	m := newManager(t, manager.Config{Store: store})
	defer run(t, m)()
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 100 {
				if err := m.Update(t.Context(), object("nodes", fmt.Sprint(w), fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
				if err := m.Delete(t.Context(), ending(fmt.Sprintf("%d-%d", w, i), "x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { writers.Wait(); close(written) }()
	for done := false; !done || len(pending(t, m)) > 0; {
		select {
		case <-written:
			done = true
		default:
		}
		versions, err := m.StateOutbox().Versions(t.Context())
		must(t, err)
		for k := range versions {
			o, err := m.StateOutbox().Load(t.Context(), k, "")
			must(t, err)
			ack(t, m, o)
		}
	}
	wantKeys(t, store, meta.Up, "up/nodes/a/0", "up/nodes/a/1", "up/nodes/a/2", "up/nodes/a/3")
	for w := range 4 {
		if o := load(t, m, "nodes", fmt.Sprint(w)); string(o.Body) != "99" {
			t.Errorf("writer %d ended at %s", w, o.Body)
		}
	}
}
