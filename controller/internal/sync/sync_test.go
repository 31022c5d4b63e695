package sync_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

func TestUnion(t *testing.T) {
	var pods, devices hubtest.Source
	pod, device := hub.Key{Resource: "pods", Name: "p"}, hub.Key{Resource: "devices", Name: "d"}
	pods.Put(pod, 3, "pod")
	devices.Put(device, 4, "device")
	u := nodesync.Union(
		nodesync.Part{Resources: []string{"pods"}, Source: &pods},
		nodesync.Part{Resources: []string{"devices"}, Source: &devices})
	versions, err := u.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[hub.Key]string{}
	for k, v := range versions {
		got[k] = v
	}
	if len(got) != 2 || got[pod] != "3" || got[device] != "4" {
		t.Errorf("versions %v", got)
	}
	var mu sync.Mutex
	var notified []hub.Key
	stop := u.Subscribe(func(k hub.Key) {
		mu.Lock()
		defer mu.Unlock()
		notified = append(notified, k)
	})
	devices.Put(device, 5, "device")
	stop()
	devices.Put(device, 6, "device")
	if !slices.Equal(notified, []hub.Key{device}) {
		t.Errorf("notified %v", notified)
	}
	if obj, err := u.Load(t.Context(), device, "4"); err != nil || obj.Version != "6" {
		t.Errorf("loaded %+v, %v", obj, err)
	}
	if _, err := u.Load(t.Context(), hub.Key{Resource: "rockets"}, ""); !errors.Is(err, &hub.Error{Code: hub.CodeUnsupported}) {
		t.Errorf("unknown resource: %v", err)
	}
}

func TestNotifier(t *testing.T) {
	var n nodesync.Notifier
	var notified []string
	first, stopA := n.Subscribe("a", func(k hub.Key) { notified = append(notified, "A"+k.Name) })
	second, stopB := n.Subscribe("a", func(k hub.Key) { notified = append(notified, "B"+k.Name) })
	n.Notify("a", hub.Key{Name: "1"})
	n.Notify("b", hub.Key{Name: "2"})
	slices.Sort(notified)
	if !first || second || !slices.Equal(notified, []string{"A1", "B1"}) {
		t.Errorf("first %t, second %t, notified %v", first, second, notified)
	}
	if again := stopA(); again || stopA() || !stopB() {
		t.Error("only the last stop is the last")
	}
}

// sinkOf returns a sink whose writes are recorded, and fail as fail says.
func sinkOf(t *testing.T, fail map[string]error) (*nodesync.Sink, *[]string) {
	var mu sync.Mutex
	var log []string
	w := func(_ context.Context, node string, obj hub.Object) error {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, obj.Key.Resource+" "+obj.Key.Name+" "+obj.Version)
		return fail[obj.Key.Name]
	}
	s, err := nodesync.NewSink(nodesync.SinkConfig{
		Node: "n", First: []string{"nodes"}, Last: []string{"slow"},
		Writers: map[string]nodesync.Writer{"nodes": w, "pods": w, "pods/status": w, "slow": w},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func obj(resource, name, version string) hub.Object {
	return hub.Object{Key: hub.Key{Resource: resource, Name: name}, Version: version}
}

func TestSinkOrder(t *testing.T) {
	s, log := sinkOf(t, nil)
	err := s.Apply(t.Context(), []hub.Object{
		obj("slow", "d", "1"), obj("pods/status", "p", "2"), obj("pods/status", "p", "3"), obj("pods", "p", "4"), obj("nodes", "n", "5"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"nodes n 5", "pods/status p 3", "pods p 4", "slow d 1"}
	if !slices.Equal(*log, want) {
		t.Errorf("wrote %q, want %q", *log, want)
	}
}

func TestSinkErrors(t *testing.T) {
	invalid, later := &hub.Error{Code: hub.CodeInvalid, Text: "no"}, errors.New("later")
	s, log := sinkOf(t, map[string]error{"bad": invalid, "wait": later})
	err := s.Apply(t.Context(), []hub.Object{obj("pods", "bad", "1"), obj("pods", "good", "1"), obj("rockets", "r", "1")})
	if !nodesync.Final(err) || !slices.Contains(*log, "pods good 1") {
		t.Errorf("error %v after %q", err, *log)
	}
	err = s.Apply(t.Context(), []hub.Object{obj("pods", "bad", "1"), obj("pods", "wait", "1"), obj("pods", "good", "2")})
	if nodesync.Final(err) || !errors.Is(err, later) || !slices.Contains(*log, "pods good 2") {
		t.Errorf("error %v after %q", err, *log)
	}
	big := obj("pods", "good", "3")
	big.Body = make([]byte, nodesync.MaxBody+1)
	if err := s.Apply(t.Context(), []hub.Object{big}); !errors.Is(err, &hub.Error{Code: hub.CodeInvalid}) {
		t.Errorf("body over the limit: %v", err)
	}
}

func TestFromAPI(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	impersonate := apierrors.NewForbidden(schema.GroupResource{Resource: "users"}, "system:node:n", errors.New("no"))
	for name, c := range map[string]struct {
		err   error
		code  hub.Code
		final bool
	}{
		"bad request":          {apierrors.NewBadRequest("x"), hub.CodeInvalid, true},
		"forbidden":            {apierrors.NewForbidden(pods, "p", errors.New("no")), hub.CodeForbidden, true},
		"may not impersonate":  {impersonate, 0, false},
		"not found":            {apierrors.NewNotFound(pods, "p"), hub.CodeNotFound, false},
		"overloaded":           {apierrors.NewTooManyRequests("x", 1), hub.CodeUnavailable, false},
		"connection is broken": {errors.New("broken"), 0, false},
		"wrapped":              {fmt.Errorf("x: %w", apierrors.NewRequestEntityTooLargeError("x")), hub.CodeInvalid, true},
		"unknown status":       {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 418}}, 0, false},
	} {
		got := nodesync.FromAPI(c.err)
		if nodesync.Final(got) != c.final || c.code != 0 && !errors.Is(got, &hub.Error{Code: c.code}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if nodesync.FromAPI(nil) != nil {
		t.Error("nil is not nil")
	}
}

func ExampleNewSink() {
	sink, err := nodesync.NewSink(nodesync.SinkConfig{
		Node: "edge-7",
		Writers: map[string]nodesync.Writer{
			"readings": func(_ context.Context, node string, obj hub.Object) error {
				fmt.Printf("%s reports %s: %s\n", node, obj.Key.Name, obj.Body)
				return nil
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = sink.Apply(context.Background(), []hub.Object{
		{Key: hub.Key{Resource: "readings", Name: "boiler"}, Version: "1", Body: []byte("20")},
		{Key: hub.Key{Resource: "readings", Name: "boiler"}, Version: "2", Body: []byte("21")},
	})
	fmt.Println(err)
	// Output:
	// edge-7 reports boiler: 21
	// <nil>
}

// TestSinkTakesEvents: events are written in order, up to the first that fails.
func TestSinkTakesEvents(t *testing.T) {
	var got []string
	fail := ""
	sink, err := nodesync.NewSink(nodesync.SinkConfig{Node: "n", Writers: map[string]nodesync.Writer{
		"events": func(_ context.Context, node string, obj hub.Object) error {
			if obj.Key.Name == fail {
				return errors.New("not now")
			}
			got = append(got, node+"/"+obj.Key.Name+"="+string(obj.Body))
			return nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	event := func(name string) hub.Event {
		return hub.Event{Key: hub.Key{Resource: "events", Namespace: "a", Name: name}, Body: []byte("x")}
	}
	batch := []hub.Event{event("b"), event("a"), event("c")}
	fail = "c"
	if err := sink.Append(t.Context(), "s", batch); err == nil || nodesync.Final(err) {
		t.Errorf("a failure that passes: %v", err)
	}
	if want := []string{"n/b=x", "n/a=x"}; !slices.Equal(got, want) {
		t.Errorf("written %q, want %q", got, want)
	}
	if err := sink.Append(t.Context(), "s", []hub.Event{{Key: hub.Key{Resource: "other"}}}); !nodesync.Final(err) {
		t.Errorf("a resource of which no node may tell: %v", err)
	}
}

// TestUnionPrefix: a part answers for all resources that begin with its prefix, and for none that
// another part names.
func TestUnionPrefix(t *testing.T) {
	var named, rest hubtest.Source
	u := nodesync.Union(
		nodesync.Part{Resources: []string{"synced.a"}, Source: &named},
		nodesync.Part{Resources: []string{"edgesyncs"}, Prefix: "synced.", Source: &rest})
	for resource, s := range map[string]*hubtest.Source{"synced.a": &named, "synced.b": &rest, "edgesyncs": &rest} {
		key := hub.Key{Resource: resource, Name: "x"}
		s.Put(key, 7, "{}")
		if obj, err := u.Load(t.Context(), key, ""); err != nil || obj.Version != "7" {
			t.Errorf("%s: %+v, %v", resource, obj, err)
		}
	}
	if _, err := u.Load(t.Context(), hub.Key{Resource: "synced", Name: "x"}, ""); !errors.Is(err, &hub.Error{Code: hub.CodeUnsupported}) {
		t.Errorf("a resource of nobody: %v", err)
	}
}
