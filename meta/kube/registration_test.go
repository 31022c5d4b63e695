package kube_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// registered is a Client over a Manager, as edgecore has them.
func registered(t *testing.T) (*kube.Client, *manager.Manager, *memstore.Store) {
	t.Helper()
	store := memstore.New()
	mgr, err := manager.New(manager.Config{Store: store, Node: "gate-7"})
	must(t, err)
	c, err := kube.New(kube.Config{Store: store, Manager: mgr, Node: "gate-7"})
	must(t, err)
	runIt(t, c.Run)
	return c, mgr, store
}

func nodeObject(t *testing.T, name string) hub.Object {
	t.Helper()
	body, err := json.Marshal(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"site": "x"}}})
	must(t, err)
	return hub.Object{Key: hub.Key{Resource: "nodes", Name: name}, Version: "1", Body: body}
}

// TestNodeDeleted: the Node of this machine is deleted in the API server. NodeDeleted
// sends it once for each time, and the same report is sent again.
func TestNodeDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, mgr, _ := registered(t)
		deleted := c.NodeDeleted(t.Context())
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			got := "nothing"
			select {
			case was := <-deleted:
				got = was.Name + " " + was.Labels["site"]
			default:
			}
			if got != want {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		report := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}}
		for range 2 {
			must(t, c.Node(t.Context(), report))
			pending := listReports(t, mgr)
			if len(pending) != 1 {
				t.Fatalf("reports %v: an equal one was dropped, though the Node is gone", pending)
			}
			must(t, mgr.StateOutbox().Acked(t.Context(), pending))
			must(t, mgr.Down().Apply(t.Context(), []hub.Object{nodeObject(t, "gate-7")}))
			expect("nothing")
			must(t, mgr.Down().Apply(t.Context(), []hub.Object{{Key: hub.Key{Resource: "nodes", Name: "gate-7"}, Deleted: true}}))
			expect("gate-7 x")
		}
		must(t, mgr.Down().Apply(t.Context(), []hub.Object{nodeObject(t, "other")}))
		must(t, mgr.Down().Apply(t.Context(), []hub.Object{{Key: hub.Key{Resource: "nodes", Name: "other"}, Deleted: true}}))
		expect("nothing")
	})
}

// TestNodeUnreadable: a stored Node that cannot be read is deleted. The deletion is
// noticed nevertheless.
func TestNodeUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, store := registered(t)
		synctest.Wait()
		key := meta.Down + meta.Key{Resource: "nodes", Name: "gate-7"}.Path()
		for _, op := range []meta.Op{{Key: key, Value: []byte("x")}, {Key: key, Delete: true}} {
			_, err := store.Apply(t.Context(), op)
			must(t, err)
		}
		synctest.Wait()
		select {
		case was := <-c.NodeDeleted(t.Context()):
			if was.Name != "" {
				t.Errorf("%+v", was)
			}
		default:
			t.Error("it was not told")
		}
	})
}

// listReports lists the reports that wait for the cloud.
func listReports(t *testing.T, mgr *manager.Manager) []hub.Object {
	t.Helper()
	versions, err := mgr.StateOutbox().Versions(t.Context())
	must(t, err)
	var out []hub.Object
	for key, version := range versions {
		out = append(out, hub.Object{Key: key, Version: version})
	}
	return out
}

// runIt runs something until the test's end.
func runIt(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
}
