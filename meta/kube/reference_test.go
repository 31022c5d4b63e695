package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

var (
	extra  = hub.Key{Resource: "configmaps", Namespace: "a", Name: "extra"}
	podOne = hub.Key{Resource: "pods", Namespace: "a", Name: "x"}
)

// cluster is the cloud of one node: it answers queries and counts them.
type cluster struct {
	mu    sync.Mutex
	has   map[hub.Key]string
	err   error // instead of any answer
	asked int
}

func (c *cluster) Call(_ context.Context, q hub.Message) (hub.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	body, ok := c.has[q.Key]
	switch {
	case c.err != nil:
		return hub.Message{}, c.err
	case !ok:
		return hub.Message{}, &hub.Error{Code: hub.CodeNotFound, Text: "no such object"}
	}
	return hub.Message{Operation: hub.Response, Key: q.Key, Version: "1", Body: []byte(body)}, nil
}

func (c *cluster) set(key hub.Key, body string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.has, c.err = map[hub.Key]string{key: body}, err
}

func (c *cluster) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// agent is MetaManager and client over a store, as edgecore has them.
type agent struct {
	*kube.Client
	*manager.Manager
	cloud *cluster
	stop  func()
}

// startAgent runs them until stop, and returns when the pods are known.
func startAgent(t *testing.T, store meta.Store, cloud *cluster) agent {
	t.Helper()
	m, err := manager.New(manager.Config{Store: store, Node: "gate-7", Caller: cloud})
	must(t, err)
	c, err := kube.New(kube.Config{Store: store, Manager: m, Node: "gate-7"})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	pods, err := c.Pods(ctx)
	must(t, err)
	<-pods
	return agent{c, m, cloud, func() {
		cancel()
		must(t, <-done)
	}}
}

// link tells the manager that the link is up, or that it is down.
func (a agent) link(t *testing.T, stands bool) {
	t.Helper()
	must(t, a.NodeConnection(t.Context(), hub.Info{Connected: stands, Since: time.Now()}))
}

// bring applies objects that the cloud sends in one batch.
func (a agent) bring(t *testing.T, objects ...hub.Object) {
	t.Helper()
	must(t, a.Down().Apply(t.Context(), objects))
}

// gone is the deletion of extra: by an old cloudcore, or because no pod refers to it.
func gone() hub.Object { return hub.Object{Key: extra, Deleted: true} }

// absent is what the cloud sends for extra when it does not exist.
func absent() hub.Object {
	return hub.Object{Key: extra, Deleted: true, Body: meta.NotFoundBody()}
}

func made(t *testing.T, version, value string) hub.Object {
	t.Helper()
	cm := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "extra"}, Data: map[string]string{"k": value}}
	body, err := json.Marshal(cm)
	must(t, err)
	return hub.Object{Key: extra, Version: version, Body: body}
}

// withExtra is pod x, which takes its environment from the optional config map extra.
func withExtra(t *testing.T, version string) hub.Object {
	t.Helper()
	p, yes := pod("x", "1"), true
	p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "extra"}, Optional: &yes}}}
	body, err := json.Marshal(p)
	must(t, err)
	return hub.Object{Key: podOne, Version: version, Body: body}
}

const (
	unknown = "unknown" // an error that says nothing about the object
	missing = "missing"
)

// wantExtra reads extra: its value, missing or unknown.
func (a agent) wantExtra(t *testing.T, want string) {
	t.Helper()
	cm, err := a.ConfigMap(t.Context(), "a", "extra")
	var e interface{ NotFound() bool }
	got := unknown
	switch {
	case err == nil:
		got = cm.Data["k"]
	case errors.As(err, &e) && e.NotFound():
		got = missing
	}
	if got != want {
		t.Errorf("extra is %s (%v), want %s", got, err, want)
	}
}

func (a agent) wantCalls(t *testing.T, want int) {
	t.Helper()
	if got := a.cloud.calls(); got != want {
		t.Errorf("the cloud was asked %d times, want %d", got, want)
	}
}

// TestReferenceOffline asks for an optional config map while there is no link.
func TestReferenceOffline(t *testing.T) {
	for _, tc := range []struct {
		name   string
		synced bool
		online func(t *testing.T, a agent) // while the link still stands
		age    time.Duration               // of the pod
		want   string
	}{
		{"synced, and the pod has been here long", true, func(*testing.T, agent) {}, time.Hour, missing},
		{"synced, and the pod has just come", true, func(*testing.T, agent) {}, time.Second, unknown},
		{"never synced", false, func(*testing.T, agent) {}, time.Hour, unknown},
		{"the cloud said so", false, func(t *testing.T, a agent) { a.bring(t, absent()) }, time.Second, missing},
		{"the cloud was asked", false, func(t *testing.T, a agent) { a.wantExtra(t, missing) }, time.Second, missing},
		{"it was deleted while the pod referred to it", false, func(t *testing.T, a agent) {
			a.bring(t, made(t, "5", "v"))
			a.bring(t, absent())
		}, time.Second, missing},
		{"it was deleted, and an old cloudcore says no more", false, func(t *testing.T, a agent) {
			a.bring(t, made(t, "5", "v"))
			a.bring(t, gone())
		}, time.Second, unknown},
		{"it was no longer needed, and then again", true, func(t *testing.T, a agent) {
			a.bring(t, absent())
			a.bring(t, gone())
		}, time.Second, unknown},
		{"it is there", true, func(t *testing.T, a agent) { a.bring(t, made(t, "5", "v")) }, time.Hour, "v"},
		{"it is there after all", true, func(t *testing.T, a agent) {
			a.bring(t, absent())
			a.bring(t, made(t, "5", "v"))
		}, time.Hour, "v"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memstore.New()
				defer store.Close()
				if tc.synced {
					must(t, meta.MarkSynced(t.Context(), store))
				}
				a := startAgent(t, store, &cluster{})
				a.link(t, true)
				a.bring(t, withExtra(t, "1"))
				synctest.Wait()
				tc.online(t, a)
				a.link(t, false)
				time.Sleep(tc.age)
				asked := a.cloud.calls()
				a.wantExtra(t, tc.want)
				a.stop()
				a = startAgent(t, store, a.cloud) // it was restarted, and has no link
				a.wantExtra(t, tc.want)
				a.wantCalls(t, asked)
				a.stop()
			})
		})
	}
}

// TestReferenceAfterReboot reads the store from the disk.
func TestReferenceAfterReboot(t *testing.T) {
	dir, cloud := t.TempDir(), &cluster{}
	open := func() *badgerstore.Store {
		t.Helper()
		store, err := badgerstore.Open(badgerstore.Config{Dir: dir})
		must(t, err)
		return store
	}
	store := open()
	first := startAgent(t, store, cloud)
	first.link(t, true)
	first.bring(t, withExtra(t, "1"))
	first.wantExtra(t, missing)
	first.stop()
	must(t, store.Close())

	store = open()
	defer store.Close()
	a := startAgent(t, store, cloud)
	defer a.stop()
	a.wantExtra(t, missing)
	a.wantCalls(t, 1)
}

// TestReferenceLostStore: the agent runs on a store that has lost all its objects.
func TestReferenceLostStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		a := startAgent(t, store, &cluster{})
		defer a.stop()
		a.link(t, true)
		a.bring(t, withExtra(t, "1")) // the first of what is sent anew
		a.cloud.set(extra, "", errOffline)
		time.Sleep(time.Hour)
		a.wantExtra(t, unknown)
		a.cloud.set(hub.Key{}, "", nil)
		a.wantExtra(t, missing)
		a.link(t, false)
		a.wantExtra(t, missing)
	})
}

// TestReferenceOnline counts the queries to the cloud while the link is up.
func TestReferenceOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		a := startAgent(t, store, &cluster{})
		defer a.stop()
		refresh := func(want string) {
			t.Helper()
			for range 100 { // volumes are refreshed each minute or so
				time.Sleep(time.Minute)
				a.wantExtra(t, want)
			}
		}
		a.link(t, true)
		a.bring(t, absent(), withExtra(t, "1")) // by a cloudcore that says so with the pod
		synctest.Wait()
		refresh(missing)
		a.wantCalls(t, 0)

		a.bring(t, withExtra(t, "2")) // the pod changed: what it refers to may be new
		synctest.Wait()
		refresh(missing)
		a.wantCalls(t, 1)

		a.link(t, false)
		a.link(t, true) // what was made meanwhile may be on its way
		refresh(missing)
		a.wantCalls(t, 2)

		changed := a.Changed(t.Context())
		synctest.Wait()
		<-changed // the one at the start
		a.bring(t, made(t, "5", "v"))
		synctest.Wait()
		select {
		case <-changed:
		default:
			t.Error("nobody heard of the config map that was made")
		}
		refresh("v")
		a.bring(t, absent())
		synctest.Wait()
		refresh(missing)
		a.wantCalls(t, 2)
	})
}

// TestReferenceInTime: a pod arrives before the object that it refers to. An answer from
// before the object existed must not be used for it.
func TestReferenceInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		a := startAgent(t, store, &cluster{})
		defer a.stop()
		a.link(t, true)
		a.wantExtra(t, missing) // nothing refers to it: asked each time
		a.wantExtra(t, missing)
		a.wantCalls(t, 2)
		object := made(t, "5", "v")
		a.cloud.set(extra, string(object.Body), nil) // somebody makes it, and then the pod
		a.bring(t, withExtra(t, "1"))
		synctest.Wait()
		a.wantExtra(t, "v")
		a.bring(t, object)
		a.wantExtra(t, "v")
		// An object that is there but cannot be read does not count as absent.
		must(t, meta.MarkSynced(t.Context(), store))
		_, err := store.Apply(t.Context(), meta.Op{Key: meta.Down + meta.Key(extra).Path(), Value: []byte("x")})
		must(t, err)
		a.cloud.set(hub.Key{}, "", errOffline)
		time.Sleep(time.Hour)
		a.wantExtra(t, unknown)
	})
}

// TestServiceAccount reads a service account from the cloud.
func TestServiceAccount(t *testing.T) {
	cloud := &cluster{}
	cloud.set(hub.Key{Resource: "serviceaccounts", Namespace: "a", Name: "robot"}, `{"metadata":{"namespace":"a","name":"robot","uid":"u"}}`, nil)
	store := memstore.New()
	m, err := manager.New(manager.Config{Store: store, Caller: cloud, Node: "n"})
	must(t, err)
	c, err := kube.New(kube.Config{Store: store, Manager: m, Node: "n"})
	must(t, err)
	for range 3 { // the manager is offline, so that nothing is asked
		if _, err := c.ServiceAccount(t.Context(), "a", "robot"); !errors.Is(err, manager.ErrOffline) {
			t.Errorf("without a link: %v", err)
		}
	}
}
