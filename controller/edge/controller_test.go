package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: "default", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			Containers: []corev1.Container{{Name: "c", Image: "x"}},
		},
	}
}

func secret(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Data: map[string][]byte{"k": []byte(value)}}
}

// start runs a controller until the test's end.
func start(t testing.TB, client *fake.Clientset) *edge.Controller {
	t.Helper()
	return startWith(t, client, nil)
}

func startWith(t testing.TB, client *fake.Clientset, logger *slog.Logger) *edge.Controller {
	t.Helper()
	nodes, err := edge.NewNodeStore(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := edge.New(edge.Config{Cloud: client, NodeClient: client, Nodes: nodes, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- nodes.Run(ctx) }()
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	<-c.Synced()
	<-nodes.Synced()
	return c
}

// peer is a subscriber that records what changed.
type peer struct {
	mu      sync.Mutex
	changed []string
}

func (p *peer) note(k hub.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = append(p.changed, k.String())
}

func (p *peer) take() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Compact(slices.Sorted(slices.Values(p.changed)))
	p.changed = nil
	return out
}

func listed(t *testing.T, s hub.Source) map[string]string {
	t.Helper()
	versions, err := s.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for k, v := range versions {
		out[k.String()] = v
	}
	return out
}

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

var (
	podKey    = hub.Key{Resource: "pods", Namespace: "a", Name: "web"}
	secretKey = hub.Key{Resource: "secrets", Namespace: "a", Name: "pull"}
)

func TestSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
		client := controllertest.NewClientset(node, pod("web", "n"), pod("other", "m"), secret("pull", "1"), secret("private", "2"))
		c := start(t, client)
		src := c.Source("n")
		var p peer
		stop := src.Subscribe(p.note)
		defer stop()
		want := []string{"nodes//n", "pods/a/web", "secrets/a/pull"}
		if got := keys(listed(t, src)); !slices.Equal(got, want) {
			t.Errorf("versions %v, want %v", got, want)
		}
		p.take()

		// The secret changes and goes.
		if _, err := client.CoreV1().Secrets("a").Update(t.Context(), secret("pull", "3"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := p.take(); !slices.Equal(got, []string{"secrets/a/pull"}) {
			t.Errorf("changed %v", got)
		}
		obj, err := src.Load(t.Context(), secretKey, "")
		if err != nil || obj.Deleted || obj.Version == "" {
			t.Errorf("loaded %+v, %v", obj, err)
		}
		if err := client.CoreV1().Secrets("a").Delete(t.Context(), "pull", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := p.take(); !slices.Equal(got, []string{"secrets/a/pull"}) {
			t.Errorf("changed %v", got)
		}
		if obj, err = src.Load(t.Context(), secretKey, obj.Version); err != nil || !obj.Deleted {
			t.Errorf("loaded %+v, %v", obj, err)
		}

		// A status of the node's own is no change, a foreign condition is.
		live := pod("web", "n")
		live.Status.Phase = corev1.PodRunning
		update := func() []string {
			t.Helper()
			if _, err := client.CoreV1().Pods("a").Update(t.Context(), live, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			return p.take()
		}
		if got := update(); len(got) != 0 {
			t.Errorf("own status came back: %v", got)
		}
		live.Status.Conditions = []corev1.PodCondition{{Type: "lb.example/attached", Status: corev1.ConditionTrue}}
		if got := update(); !slices.Equal(got, []string{"pods/a/web"}) {
			t.Errorf("foreign condition: %v", got)
		}

		// The pod goes, and with it what it referred to.
		if err := client.CoreV1().Pods("a").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := p.take(); !slices.Equal(got, []string{"pods/a/web", "secrets/a/pull"}) {
			t.Errorf("changed %v", got)
		}
		for _, key := range []hub.Key{podKey, secretKey, {Resource: "secrets", Namespace: "a", Name: "private"}} {
			if obj, err := src.Load(t.Context(), key, "1"); err != nil || !obj.Deleted {
				t.Errorf("loaded %+v, %v", obj, err)
			}
		}
		if got := keys(listed(t, src)); !slices.Equal(got, []string{"nodes//n"}) {
			t.Errorf("left %v", got)
		}
	})
}

// TestLagging: the cache is behind the API server. No existing object may be reported as
// deleted, and no older version may be sent.
func TestLagging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset()
		c := start(t, client)
		src := c.Source("n")
		defer src.Subscribe(func(hub.Key) {})()
		synctest.Wait() // the client's reactors may be changed only while nobody calls it
		// Written to the API server without an event of the watch.
		fresh, s := pod("web", "n"), secret("pull", "1")
		fresh.ResourceVersion, s.ResourceVersion = "900", "901"
		client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, fresh, nil })
		client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &corev1.PodList{Items: []corev1.Pod{*fresh}}, nil
		})
		client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, s, nil })
		if obj, err := src.Load(t.Context(), podKey, "900"); err != nil || obj.Deleted || obj.Version != "900" {
			t.Errorf("pod: %+v, %v", obj, err)
		}
		if obj, err := src.Load(t.Context(), secretKey, "901"); err != nil || obj.Deleted || obj.Version != "901" {
			t.Errorf("secret of a pod that the watch has not seen: %+v, %v", obj, err)
		}
		forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "pull", errors.New("no relationship"))
		client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
		if _, err := src.Load(t.Context(), secretKey, "901"); !errors.Is(err, hub.ErrLagging) {
			t.Errorf("secret that the node authorizer does not know yet: %v", err)
		}
		client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewInternalError(errors.New("etcd is away"))
		})
		if obj, err := src.Load(t.Context(), podKey, "900"); err == nil {
			t.Errorf("with no answer: %+v", obj)
		}
		moved := pod("web", "m")
		client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, moved, nil })
		if obj, err := src.Load(t.Context(), podKey, "900"); err != nil || !obj.Deleted {
			t.Errorf("pod of another node: %+v, %v", obj, err)
		}
	})
}

func TestNodeRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset()
		c := start(t, client)
		report := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"kubernetes.io/hostname": "n", "k8s.io/forbidden": "x"}},
			Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1"}},
		}
		write := func() error {
			body, err := json.Marshal(report)
			if err != nil {
				t.Fatal(err)
			}
			defer synctest.Wait()
			return c.Writers()["nodes"](t.Context(), "n", hub.Object{Key: hub.Key{Resource: "nodes", Name: "n"}, Body: body})
		}
		for _, version := range []string{"v1", "v2"} {
			report.Status.NodeInfo.KubeletVersion = version
			if err := write(); err != nil {
				t.Fatal(err)
			}
			got, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, role := got.Labels[nodelifecycle.RoleLabel]
			_, bad := got.Labels["k8s.io/forbidden"]
			if !role || bad || got.Labels["kubernetes.io/hostname"] != "n" || got.Status.NodeInfo.KubeletVersion != version {
				t.Errorf("node %+v", got)
			}
		}
		// A refusal may pass: it is not final.
		client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "n", errors.New("no"))
		})
		var e *hub.Error
		if err := write(); err == nil || errors.As(err, &e) {
			t.Errorf("refused registration: %v", err)
		}
	})
}

func ExampleController_Source() {
	client := controllertest.NewClientset(pod("web", "edge-7"), secret("pull", "x"))
	nodes, err := edge.NewNodeStore(client, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := edge.New(edge.Config{Cloud: client, NodeClient: client, Nodes: nodes})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	<-c.Synced()

	source := c.Source("edge-7")
	stop := source.Subscribe(func(hub.Key) {}) // what a session does first
	versions, err := source.Versions(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for key := range versions {
		fmt.Println(key)
	}
	stop()
	cancel()
	<-done
	// Output:
	// pods/a/web
	// secrets/a/pull
}
