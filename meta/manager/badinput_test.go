package manager_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// badDisk is a store whose disk refuses writes while errno is not 0.
type badDisk struct {
	meta.Store
	errno atomic.Int32
}

func (s *badDisk) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if n := s.errno.Load(); n != 0 && len(ops) > 0 {
		return 0, fmt.Errorf("disk: %w", syscall.Errno(n))
	}
	return s.Store.Apply(ctx, ops...)
}

// TestBadDisk fills the disk, and mounts it read-only, under a manager: writes fail with
// the disk's error, reads still work, and no stored object is lost.
func TestBadDisk(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EROFS} {
		t.Run(errno.Error(), func(t *testing.T) {
			store := &badDisk{Store: memstore.New()}
			defer store.Close()
			key := hub.Key{Resource: "secrets", Namespace: "a", Name: "s"}
			var far cloud
			far.set(key, "value", nil)
			m := newManager(t, manager.Config{Store: store, Caller: &far})
			defer run(t, m)()
			connect(t, m, true)
			must(t, m.Update(t.Context(), object("nodes", "n", "1")))
			must(t, m.Down().Apply(t.Context(), []hub.Object{pod("x", "1")}))

			store.errno.Store(int32(errno))
			for what, err := range map[string]error{
				"a report":       m.Update(t.Context(), object("nodes", "n", "2")),
				"a deletion":     m.Delete(t.Context(), object("nodes", "n", "")),
				"the cloud's":    m.Down().Apply(t.Context(), []hub.Object{pod("x", "2")}),
				"an event":       m.Append(t.Context(), meta.Key{Resource: "events", Namespace: "a", Name: "e"}, []byte("{}")),
				"a lost link":    m.NodeConnection(t.Context(), hub.Info{Since: time.Now()}),
				"the link again": m.NodeConnection(t.Context(), hub.Info{Connected: true, Since: time.Now()}),
			} {
				if !errors.Is(err, errno) {
					t.Errorf("%s: %v, want %v", what, err, errno)
				}
				if peer, is := errors.AsType[*hub.Error](err); is && peer.Final() {
					t.Errorf("%s: %v is not to be tried again", what, err)
				}
			}
			if err := m.Update(t.Context(), meta.Object{Key: meta.Key(key), Body: []byte("2")}); !meta.TakesNothing(err) {
				t.Errorf("a new report: %v", err)
			}
			if !m.Connection().Connected {
				t.Error("the link's return is not known for want of a disk")
			}
			if o, err := m.Query(t.Context(), meta.Object{Key: meta.Key(key)}); err != nil || string(o.Body) != "value" {
				t.Errorf("an answer of the cloud that cannot be kept: %q, %v", o.Body, err)
			}
			if o, err := m.Query(t.Context(), meta.Object{Key: meta.Key(pod("x", "").Key)}); err != nil || o.Version != "1" {
				t.Errorf("what is stored: %+v, %v", o, err)
			}
			wantPending(t, m, "nodes/a/n")
			if n := load(t, m, "nodes", "n"); string(n.Body) != "1" {
				t.Errorf("the outbox has %q", n.Body)
			}

			store.errno.Store(0)
			must(t, m.Update(t.Context(), object("nodes", "n", "2")))
			must(t, m.Down().Apply(t.Context(), []hub.Object{pod("x", "2")}))
			if n := load(t, m, "nodes", "n"); string(n.Body) != "2" {
				t.Errorf("the outbox has %q", n.Body)
			}
		})
	}
}

// TestReportsFromMemory: the disk refuses writes while the cloud must get a report. It is
// sent from memory, once, in order with the stored reports before and after it, also by a
// link that comes up meanwhile.
func TestReportsFromMemory(t *testing.T) {
	store := &badDisk{Store: memstore.New()}
	defer store.Close()
	m := newManager(t, manager.Config{Store: store})
	defer run(t, m)()
	var notified atomic.Int32
	defer m.StateOutbox().Subscribe(func(hub.Key) { notified.Add(1) })()
	must(t, m.Update(t.Context(), object("nodes", "n", "fine")))
	first := load(t, m, "nodes", "n")
	ack(t, m, first)
	wantPending(t, m)

	store.errno.Store(int32(syscall.ENOSPC))
	before := notified.Load()
	must(t, m.UpdateInMemory(t.Context(), object("nodes", "n", "full")))
	must(t, m.UpdateInMemory(t.Context(), object("nodes", "n", "still full")))
	if notified.Load() < before+2 {
		t.Error("the link was not told")
	}
	wantPending(t, m, "nodes/a/n")
	second := load(t, m, "nodes", "n")
	if string(second.Body) != "still full" || m.StateOutbox().Compare(first.Version, second.Version) >= 0 {
		t.Errorf("after %q the cloud is told %q of version %q", first.Version, second.Body, second.Version)
	}
	ack(t, m, second) // needs no disk
	wantPending(t, m)
	for i := range 15 {
		must(t, m.UpdateInMemory(t.Context(), object("nodes", fmt.Sprint(i), "x")))
	}
	if err := m.UpdateInMemory(t.Context(), object("nodes", "one more", "x")); !errors.Is(err, manager.ErrOutboxFull) {
		t.Errorf("more than memory is for: %v", err)
	}

	// The stored report counts then, although it is equal to the one stored before.
	store.errno.Store(0)
	must(t, m.Update(t.Context(), object("nodes", "n", "fine")))
	third := load(t, m, "nodes", "n")
	if string(third.Body) != "fine" || m.StateOutbox().Compare(second.Version, third.Version) >= 0 {
		t.Errorf("after %q the cloud is told %q of version %q", second.Version, third.Body, third.Version)
	}
	ack(t, m, second) // late: it must not acknowledge the third report
	if got := pending(t, m); !slices.Contains(got, "nodes/a/n") {
		t.Errorf("outbox wants to send %q", got)
	}
}

// TestClockJumps sets the node's clock to 1970 and back: a stored answer does not count
// as fresh, and newer reports stay newer.
func TestClockJumps(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	key := hub.Key{Resource: "secrets", Namespace: "a", Name: "s"}
	var far cloud
	far.set(key, "1", nil)
	m := newManager(t, manager.Config{Caller: &far, Now: func() time.Time { return now }})
	connect(t, m, true)
	ask := func(want string) {
		t.Helper()
		if o, err := m.Query(t.Context(), meta.Object{Key: meta.Key(key)}); err != nil || string(o.Body) != want {
			t.Errorf("in %d: %q, %v; want %q", now.Year(), o.Body, err, want)
		}
	}
	ask("1")
	must(t, m.Update(t.Context(), object("nodes", "n", "1")))
	before := load(t, m, "nodes", "n")
	for i, at := range []time.Time{time.Unix(0, 0), time.Unix(60, 0), now, now.AddDate(50, 0, 0), now} {
		now = at
		body := fmt.Sprint(i + 2)
		far.set(key, body, nil)
		ask(body)
		must(t, m.Update(t.Context(), object("nodes", "n", body)))
		if n := load(t, m, "nodes", "n"); string(n.Body) != body || m.StateOutbox().Compare(n.Version, before.Version) <= 0 {
			t.Errorf("in %d: %q at %s, after %s", now.Year(), n.Body, n.Version, before.Version)
		}
		before = load(t, m, "nodes", "n")
	}
}

// TestOddObjects sends keys with odd characters, unknown kinds and objects at and over
// the limit in both directions: each is stored as it is, or refused for good, and affects
// no other.
func TestOddObjects(t *testing.T) {
	for _, test := range []struct {
		name string
		key  meta.Key
		size int
		ok   bool
	}{
		{"an unknown kind", meta.Key{Resource: "gizmos.example.com", Namespace: "a", Name: "g"}, 10, true},
		{"an unknown sub-resource", meta.Key{Resource: "gizmos/gear", Namespace: "a", Name: "g"}, 10, true},
		{"a name of RBAC", meta.Key{Resource: "clusterroles", Name: "system:node%~ ü\x01"}, 10, true},
		{"no name", meta.Key{Resource: "pods", Namespace: "a"}, 10, false},
		{"no kind", meta.Key{Namespace: "a", Name: "p"}, 10, false},
		{"a slash in the name", meta.Key{Resource: "pods", Namespace: "a", Name: "p/../q"}, 10, false},
		{"a slash in the namespace", meta.Key{Resource: "pods", Namespace: "a/b", Name: "p"}, 10, false},
		{"a long name", meta.Key{Resource: "pods", Namespace: "a", Name: strings.Repeat("p", meta.MaxKey)}, 10, false},
		{"an object at the limit", meta.Key{Resource: "pods", Namespace: "a", Name: "p"}, meta.MaxValue - 200, true},
		{"an object over it", meta.Key{Resource: "pods", Namespace: "a", Name: "p"}, meta.MaxValue + 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newManager(t, manager.Config{})
			o := meta.Object{Key: test.key, Version: "1", Body: []byte(strings.Repeat("x", test.size))}
			wantTaken := func(direction string, err error) {
				t.Helper()
				peer, is := errors.AsType[*hub.Error](err)
				if test.ok && err != nil || !test.ok && (!is || !peer.Final()) {
					t.Errorf("%s: %v", direction, err)
				}
			}
			wantTaken("up", m.Update(t.Context(), o))
			wantTaken("down", m.Down().Apply(t.Context(), []hub.Object{{Key: hub.Key(o.Key), Version: "1", Body: o.Body}}))
			must(t, m.Update(t.Context(), object("nodes", "n", "1")))
			must(t, m.Down().Apply(t.Context(), []hub.Object{pod("x", "1")}))
			if !test.ok {
				wantPending(t, m, "nodes/a/n")
				wantVersions(t, m.Down(), map[string]string{"pods/a/x": "1"})
				return
			}
			sent, err := m.StateOutbox().Load(t.Context(), hub.Key(o.Key), "")
			if err != nil || len(sent.Body) != test.size {
				t.Errorf("up: %d bytes, %v", len(sent.Body), err)
			}
			wantVersions(t, m.Down(), map[string]string{"pods/a/x": "1", hub.Key(o.Key).String(): "1"})
		})
	}
}
