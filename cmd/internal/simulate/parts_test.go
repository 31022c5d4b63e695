package simulate

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.read(); got != (Latency{}) {
		t.Errorf("empty: %+v", got)
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	h.add(0)
	got := h.read()
	within := func(d, want time.Duration) bool { return d >= want*97/100 && d <= want*103/100 }
	if got.Count != 1001 || got.Max != time.Second || !within(got.P50, 500*time.Millisecond) || !within(got.P99, 990*time.Millisecond) {
		t.Errorf("%+v", got)
	}
	h.add(1000 * time.Hour)
	if h.read().Max != 1000*time.Hour {
		t.Error("the longest is lost")
	}
	if h.reset(); h.read() != (Latency{}) {
		t.Error("reset keeps something")
	}
}

func TestAgenda(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgenda()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.run(ctx) }()
		begun := time.Now()
		var at []time.Duration
		note := func() { at = append(at, time.Since(begun)) }
		a.after(3*time.Second, note)
		synctest.Wait()
		a.after(time.Second, func() { note(); a.after(time.Second, note) })
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if len(at) != 3 || at[0] != time.Second || at[1] != 2*time.Second || at[2] != 3*time.Second {
			t.Errorf("called at %v", at)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// light makes a node without a link.
func light(t *testing.T) *node {
	t.Helper()
	f, err := New(Config{REST: &rest.Config{}, Servers: []string{"h:1"}, Nodes: 1, Twins: 2})
	if err != nil {
		t.Fatal(err)
	}
	return &node{fleet: f, name: "sim-000000", held: make(map[hub.Key]string), pods: make(map[string]*pod), pending: make(map[hub.Key]*report)}
}

// TestPodLife takes a pod through its life at a node: it comes, runs, ends.
func TestPodLife(t *testing.T) {
	n := light(t)
	key := hub.Key{Resource: resources.Pods, Namespace: "x", Name: "p"}
	apply := func(body string) {
		t.Helper()
		if err := n.Apply(t.Context(), []hub.Object{{Key: key, Version: "7", Body: []byte(body)}}); err != nil {
			t.Fatal(err)
		}
	}
	apply(`{"metadata":{"uid":"u"},"spec":{"containers":[{"name":"app"}]}}`)
	calls, _ := n.fleet.agenda.due(time.Now().Add(time.Minute))
	if len(calls) != 1 {
		t.Fatalf("%d calls are planned", len(calls))
	}
	calls[0]()
	status := hub.Key{Resource: resources.PodStatus, Namespace: "x", Name: "p"}
	o, err := n.Load(t.Context(), status, "")
	var p corev1.Pod
	if err != nil || json.Unmarshal(o.Body, &p) != nil || p.UID != "u" || p.Status.Phase != corev1.PodRunning || !p.Status.ContainerStatuses[0].Ready {
		t.Errorf("%v: %s", err, o.Body)
	}
	if err := (sender{n}).Acked(t.Context(), []hub.Object{{Key: status, Version: o.Version}}); err != nil || len(n.pending) != 0 {
		t.Errorf("%v; pending %v", err, n.pending)
	}
	if s := n.fleet.Stats(); s.PodStatus.Count != 1 || s.Pods != 1 {
		t.Errorf("%+v", s)
	}
	apply(`{"metadata":{"uid":"u","deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"containers":[{"name":"app"}]}}`)
	if o, err = n.Load(t.Context(), key, ""); err != nil || !o.Deleted || string(o.Body) != `{"preconditions":{"uid":"u"}}` {
		t.Errorf("%v: %+v", err, o)
	}
	if err := n.Apply(t.Context(), []hub.Object{{Key: key, Deleted: true}}); err != nil || len(n.pods) != 0 || len(n.held) != 0 {
		t.Errorf("%v: %v, %v", err, n.pods, n.held)
	}
	if err := n.Apply(t.Context(), []hub.Object{{Key: key, Body: []byte("no")}}); err == nil {
		t.Error("a body that is no JSON was taken")
	}
}

// TestDevice begins to report when the device comes, and ends when it goes.
func TestDevice(t *testing.T) {
	n := light(t)
	key := hub.Key{Resource: resources.Devices, Namespace: n.fleet.cfg.Namespace, Name: n.name}
	status := key
	status.Resource = resources.DeviceStatuses
	if o, err := n.Load(t.Context(), status, ""); err != nil || !o.Deleted {
		t.Errorf("no device yet: %+v, %v", o, err)
	}
	if err := n.Apply(t.Context(), []hub.Object{{Key: key, Version: "1", Body: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		calls, _ := n.fleet.agenda.due(time.Now().Add(time.Hour))
		if len(calls) != 1 {
			t.Fatalf("%d calls are planned", len(calls))
		}
		calls[0]()
	}
	if o, err := n.Load(t.Context(), status, ""); err != nil || o.Deleted || len(o.Body) == 0 {
		t.Errorf("%+v, %v", o, err)
	}
	if err := n.Apply(t.Context(), []hub.Object{{Key: key, Deleted: true}}); err != nil {
		t.Fatal(err)
	}
	calls, _ := n.fleet.agenda.due(time.Now().Add(time.Hour))
	for _, call := range calls {
		call()
	}
	if calls, _ = n.fleet.agenda.due(time.Now().Add(10 * time.Hour)); len(calls) != 0 {
		t.Error("a device that is gone is reported")
	}
	if (sender{n}).Compare("9", "10") >= 0 || n.Compare("x", "1") >= 0 || n.Compare("2", "2") != 0 {
		t.Error("versions are not ordered as numbers")
	}
}

// TestIsNode: what a simulation removes is its own. Names of real nodes and of other simulations may
// begin like its name.
func TestIsNode(t *testing.T) {
	c := Config{Name: "sim"}
	for name, want := range map[string]bool{
		"sim-000000": true, c.nodeName(MaxNodes - 1): true, c.nodeName(MaxNodes): false,
		"sim-2-000000": false, "sim-gateway": false, "sim-7": false, "sim-+00001": false, "sim--00001": false, "sim-": false, "other-000000": false, "000000": false,
	} {
		if c.isNode(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}
