package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Manager that records the reports.
type fake struct {
	store    meta.Store
	reported []meta.Object
	events   []meta.Object
	answer   func(q meta.Object) (meta.Object, error) // of what is not in the Down area
}

func (f *fake) Query(ctx context.Context, q meta.Object) (meta.Object, error) {
	r, err := f.store.Get(ctx, meta.Down+q.Key.Path())
	if err == nil {
		return meta.DecodeObject(meta.Down, r)
	}
	if f.answer == nil {
		return meta.Object{}, errOffline
	}
	return f.answer(q)
}

func (f *fake) Insert(_ context.Context, o meta.Object) error { return f.take(o) }
func (f *fake) Update(_ context.Context, o meta.Object) error { return f.take(o) }
func (f *fake) Delete(_ context.Context, o meta.Object) error {
	o.Deleted = true
	return f.take(o)
}

func (f *fake) Append(_ context.Context, key meta.Key, body []byte) error {
	f.events = append(f.events, meta.Object{Key: key, Body: body})
	return nil
}

func (f *fake) take(o meta.Object) error {
	f.reported = append(f.reported, o)
	return nil
}

var errOffline = errors.New("cloud is out of reach")

type setup struct {
	*kube.Client
	store *memstore.Store
	m     *fake
	stop  func()
}

// start runs a Client until stop, and returns when it knows the pods.
func start(t *testing.T) setup {
	t.Helper()
	store := memstore.New()
	m := &fake{store: store}
	c, err := kube.New(kube.Config{Store: store, Manager: m, Node: "gate-7"})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	pods, err := c.Pods(ctx)
	must(t, err)
	<-pods // it has removed what belongs to pods that are not there
	return setup{c, store, m, func() {
		cancel()
		must(t, <-done)
		must(t, store.Close())
	}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s setup) put(t *testing.T, resource, namespace, name string, body any) {
	t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		must(t, err)
		text = string(b)
	}
	key := meta.Key{Resource: resource, Namespace: namespace, Name: name}
	_, err := s.store.Apply(t.Context(), meta.Op{Key: meta.Down + key.Path(), Value: meta.EncodeObject(meta.Object{Version: "1", Body: []byte(text)})})
	must(t, err)
}

func (s setup) drop(t *testing.T, path string) {
	t.Helper()
	_, err := s.store.Apply(t.Context(), meta.Op{Key: meta.Down + path, Delete: true})
	must(t, err)
}

func pod(name, image string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{NodeName: "gate-7", Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

// images shows a list as "name=image".
func images(list []*corev1.Pod) string {
	var all []string
	for _, p := range list {
		all = append(all, p.Name+"="+p.Spec.Containers[0].Image)
	}
	return strings.Join(all, " ")
}

func TestPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		pods, err := s.Pods(ctx)
		must(t, err)
		if list := <-pods; list == nil || len(list) != 0 {
			t.Errorf("at first: %v, want an empty list", list)
		}
		s.put(t, "pods", "a", "y", pod("y", "1"))
		synctest.Wait()
		if got := images(<-pods); got != "y=1" {
			t.Errorf("pods: %s", got)
		}
		s.put(t, "pods", "a", "x", pod("x", "1"))
		s.put(t, "pods", "a", "y", pod("y", "2"))
		elsewhere := pod("z", "1")
		elsewhere.Spec.NodeName = "other"
		s.put(t, "pods", "a", "z", elsewhere)
		synctest.Wait()
		if got := images(<-pods); got != "x=1 y=2" {
			t.Errorf("pods: %s, want the newest only", got)
		}
		s.put(t, "pods", "a", "y", "{ not a pod")
		s.put(t, "pods", "a", "x", pod("y", "3"))
		s.drop(t, "pods/a/z")
		synctest.Wait()
		if got := images(<-pods); got != "x=1 y=2" {
			t.Errorf("pods: %s, want what was known of the broken ones", got)
		}
		s.drop(t, "pods/a/x")
		synctest.Wait()
		if got := images(<-pods); got != "y=2" {
			t.Errorf("pods: %s", got)
		}
		cancel()
		synctest.Wait()
		if _, open := <-pods; open {
			t.Error("the channel is open after its context ended")
		}
	})
}

func TestConfigMapsAndSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		changed := s.Changed(ctx)
		synctest.Wait()
		<-changed // at the start
		s.put(t, "pods", "a", "x", pod("x", "1"))
		synctest.Wait()
		select {
		case <-changed:
			t.Error("a pod counts as a change of config maps")
		default:
		}
		s.put(t, "configmaps", "a", "c", corev1.ConfigMap{Data: map[string]string{"k": "v"}})
		s.put(t, "secrets", "a", "s", corev1.Secret{Data: map[string][]byte{"k": []byte("v")}})
		synctest.Wait()
		<-changed
		cm, err := s.ConfigMap(t.Context(), "a", "c")
		if err != nil || cm.Data["k"] != "v" {
			t.Errorf("config map %v, %v", cm, err)
		}
		secret, err := s.Secret(t.Context(), "a", "s")
		if err != nil || string(secret.Data["k"]) != "v" {
			t.Errorf("secret %v, %v", secret, err)
		}

		var missing interface{ NotFound() bool }
		if _, err := s.ConfigMap(t.Context(), "a", "none"); errors.As(err, &missing) || !errors.Is(err, errOffline) {
			t.Errorf("while nobody knows: %v", err)
		}
		s.m.answer = func(meta.Object) (meta.Object, error) { return meta.Object{}, meta.ErrNotFound }
		if _, err := s.Secret(t.Context(), "a", "none"); !errors.As(err, &missing) || !missing.NotFound() || !errors.Is(err, meta.ErrNotFound) {
			t.Errorf("what does not exist: %v", err)
		}
		s.m.answer = func(meta.Object) (meta.Object, error) { return meta.Object{Body: []byte("{")}, nil }
		if _, err := s.Secret(t.Context(), "a", "none"); err == nil {
			t.Error("a body that is no JSON was taken")
		}
	})
}

func TestServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		s.put(t, "services", "a", "db", corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "db"}})
		s.put(t, "services", "a", "half", "{")
		s.put(t, "services", "ab", "other", corev1.Service{})
		got, err := s.Services(t.Context(), "a")
		must(t, err)
		if len(got) != 1 || got[0].Name != "db" {
			t.Errorf("services %v", got)
		}
		if got, err := s.Services(t.Context(), "none"); len(got) != 0 || err != nil {
			t.Errorf("services %v, %v", got, err)
		}
	})
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		p := pod("x", "1")
		p.Labels = map[string]string{"secret": "label"}
		p.Status.Phase = corev1.PodRunning
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}}
		event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "e"}, Reason: "Started"}
		for _, err := range []error{s.Node(t.Context(), node), s.PodStatus(t.Context(), p), s.PodGone(t.Context(), p), s.Event(t.Context(), event)} {
			must(t, err)
		}
		var got []string
		for _, o := range slices.Concat(s.m.reported, s.m.events) {
			got = append(got, o.Key.String())
			if strings.Contains(string(o.Body), "managedFields") || strings.Contains(string(o.Body), "label") || strings.Contains(string(o.Body), "image") {
				t.Errorf("%s carries too much: %s", o.Key, o.Body)
			}
		}
		if want := []string{"nodes//gate-7", "pods/status/a/x", "pods/a/x", "events/a/e"}; !slices.Equal(got, want) {
			t.Errorf("reported %q, want %q", got, want)
		}
		var status corev1.Pod
		must(t, json.Unmarshal(s.m.reported[1].Body, &status))
		if status.UID != "uid-x" || status.Status.Phase != corev1.PodRunning {
			t.Errorf("status %+v", status)
		}
		var how metav1.DeleteOptions
		must(t, json.Unmarshal(s.m.reported[2].Body, &how))
		if !s.m.reported[2].Deleted || *how.Preconditions.UID != "uid-x" || how.GracePeriodSeconds == nil || *how.GracePeriodSeconds != 0 {
			t.Errorf("deletion %s", s.m.reported[2].Body)
		}
		p.UID = ""
		other := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
		if s.PodGone(t.Context(), p) == nil || s.Node(t.Context(), other) == nil {
			t.Error("a pod without uid, or another node, was reported")
		}
		if len(node.ManagedFields) != 1 {
			t.Error("the caller's node was changed")
		}
	})
}

func TestNewRefuses(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	for _, cfg := range []kube.Config{{}, {Store: store}, {Store: store, Manager: &fake{}}, {Manager: &fake{}, Node: "n"}} {
		if _, err := kube.New(cfg); err == nil {
			t.Errorf("New(%+v) succeeded", cfg)
		}
	}
}

// TestNodeOnFullDisk reports the node while its disk is full: the cloud gets the report,
// and the caller an error that says that it is not durable.
func TestNodeOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		store := fullStore{s.store}
		m, err := manager.New(manager.Config{Store: store, Node: "gate-7"})
		must(t, err)
		c, err := kube.New(kube.Config{Store: store, Manager: m, Node: "gate-7"})
		must(t, err)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}}
		if err := c.Node(t.Context(), node); !meta.TakesNothing(err) {
			t.Errorf("reported with %v", err)
		}
		if err := c.PodStatus(t.Context(), pod("x", "1")); !meta.TakesNothing(err) {
			t.Errorf("a pod's status: %v", err)
		}
		pending, err := m.StateOutbox().Versions(t.Context())
		must(t, err)
		for key := range pending {
			if key != (hub.Key{Resource: "nodes", Name: "gate-7"}) {
				t.Errorf("the cloud is told of %s", key)
			}
		}
		o, err := m.StateOutbox().Load(t.Context(), hub.Key{Resource: "nodes", Name: "gate-7"}, "")
		if err != nil || o.Deleted || !strings.Contains(string(o.Body), "gate-7") {
			t.Errorf("the cloud is told %+v, %v", o, err)
		}
	})
}

// fullStore is a store whose disk is full.
type fullStore struct{ meta.Store }

func (s fullStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if len(ops) > 0 {
		return 0, syscall.ENOSPC
	}
	return s.Store.Apply(ctx)
}
