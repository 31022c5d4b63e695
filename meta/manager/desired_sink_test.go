package manager_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

func pod(name, version string) hub.Object {
	return hub.Object{Key: hub.Key{Resource: "pods", Namespace: "a", Name: name}, Version: version, Body: []byte("body " + version)}
}

func TestDown(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	m := newManager(t, manager.Config{Store: store})
	down := m.Down()
	node := hub.Object{Key: hub.Key{Resource: "nodes", Name: "gate-7"}, Version: "9", Body: []byte("{}")}
	must(t, down.Apply(t.Context(), []hub.Object{pod("x", "1"), pod("y", "1"), node, pod("x", "2")}))
	wantVersions(t, down, map[string]string{"pods/a/x": "2", "pods/a/y": "1", "nodes//gate-7": "9"})
	r, err := store.Get(t.Context(), "down/pods/a/x")
	must(t, err)
	o, err := meta.DecodeObject(meta.Down, r)
	if err != nil || string(o.Body) != "body 2" || o.Stored.IsZero() {
		t.Errorf("stored as %+v, %v", o, err)
	}

	_, before, err := store.List(t.Context(), "")
	must(t, err)
	must(t, down.Apply(t.Context(), []hub.Object{pod("x", "2"), {Key: hub.Key{Resource: "pods", Namespace: "a", Name: "absent"}, Deleted: true}}))
	if _, now, _ := store.List(t.Context(), ""); now != before {
		t.Error("a repeat was written again")
	}

	gone := pod("x", "3")
	gone.Deleted = true
	must(t, down.Apply(t.Context(), []hub.Object{gone, pod("y", "2")}))
	wantVersions(t, down, map[string]string{"pods/a/y": "2", "nodes//gate-7": "9"})
}

func wantVersions(t *testing.T, s hub.Sink, want map[string]string) {
	t.Helper()
	versions, err := s.Versions(t.Context())
	must(t, err)
	got := make(map[string]string)
	for k, v := range versions {
		got[k.String()] = v
	}
	if !maps.Equal(got, want) {
		t.Errorf("holds %v, want %v", got, want)
	}
}

func TestDownRefusesForGood(t *testing.T) {
	m := newManager(t, manager.Config{})
	large := pod("x", "1")
	large.Body = make([]byte, meta.MaxValue)
	for name, o := range map[string]hub.Object{
		"no name":       {Key: hub.Key{Resource: "pods", Namespace: "a"}},
		"slash in name": {Key: hub.Key{Resource: "pods", Namespace: "a", Name: "b/c"}},
		"too large":     large,
	} {
		err := m.Down().Apply(t.Context(), []hub.Object{o})
		if !errors.Is(err, &hub.Error{Code: hub.CodeInvalid}) {
			t.Errorf("%s: %v, want CodeInvalid", name, err)
		}
	}
}

// TestDownLargeWindow applies more at once than one batch may have.
func TestDownLargeWindow(t *testing.T) {
	m := newManager(t, manager.Config{})
	var objects []hub.Object
	for i := range 20 {
		o := pod(fmt.Sprint(i), "1")
		o.Body = []byte(strings.Repeat("x", 1<<20))
		objects = append(objects, o)
	}
	must(t, m.Down().Apply(t.Context(), objects))
	versions, err := m.Down().Versions(t.Context())
	must(t, err)
	if n := len(maps.Collect(versions)); n != 20 {
		t.Errorf("%d of 20 objects are there", n)
	}
}

// TestDownSkipsWhatItCannotRead: Versions does not list a damaged record, so that the
// cloud sends it again.
func TestDownSkipsWhatItCannotRead(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	m := newManager(t, manager.Config{Store: store})
	_, err := store.Apply(t.Context(), meta.Op{Key: "down/pods/a/x", Value: []byte{99}})
	must(t, err)
	wantVersions(t, m.Down(), nil)
	must(t, m.Down().Apply(t.Context(), []hub.Object{pod("x", "1")}))
	wantVersions(t, m.Down(), map[string]string{"pods/a/x": "1"})
}

// TestReportsGoWithTheirObject: the acknowledged status of a pod that the cloud removed
// is deleted, also one that is acknowledged only afterwards.
func TestReportsGoWithTheirObject(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	m := newManager(t, manager.Config{Store: store})
	must(t, m.Down().Apply(t.Context(), []hub.Object{pod("x", "1"), pod("y", "1"), pod("z", "1")}))
	for _, name := range []string{"x", "y", "z"} {
		must(t, m.Update(t.Context(), object("pods/status", name, "running")))
	}
	must(t, m.Update(t.Context(), object("nodes", "x", "not a part of pod x")))
	ack(t, m, load(t, m, "pods/status", "x"), load(t, m, "nodes", "x"))
	wantKeys(t, store, meta.Up, "up/nodes/a/x", "up/pods:status/a/x", "up/pods:status/a/y", "up/pods:status/a/z")
	gone := func(name string) hub.Object {
		o := pod(name, "2")
		o.Deleted = true
		return o
	}
	must(t, m.Down().Apply(t.Context(), []hub.Object{gone("x"), gone("y")}))
	wantKeys(t, store, meta.Up, "up/nodes/a/x", "up/pods:status/a/y", "up/pods:status/a/z")
	ack(t, m, load(t, m, "pods/status", "y"), load(t, m, "pods/status", "z"))
	wantKeys(t, store, meta.Up, "up/nodes/a/x", "up/pods:status/a/z")
	wantKeys(t, store, meta.Acked, "acked/nodes/a/x", "acked/pods:status/a/z")
	wantPending(t, m)
}
