package controller_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

func newController(objects ...runtime.Object) (*controller.Controller, *fake.Clientset, error) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, nil, err
	}
	kube := controllertest.NewClientset(objects...)
	c, err := controller.New(controller.Config{
		Cloud: kube, NodeClient: kube, Dynamic: dynamicfake.NewSimpleDynamicClient(scheme), ID: "cloudcore-0",
	})
	return c, kube, err
}

func boundPod(node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "u-1", ResourceVersion: "7"},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "x"}}},
	}
}

// TestLink runs a whole link in memory: an edge connects, gets its pod, reports its Node
// and the pod's status, and its connection and its end are recorded.
func TestLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, kube, err := newController(boundPod("edge-7"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Attach(t.Context(), hub.Hello{Node: "edge-7"}); !errors.Is(err, &hub.Error{Code: hub.CodeUnavailable}) {
			t.Errorf("attached before the cache is filled: %v", err)
		}
		net := memconn.New(memconn.Config{})
		var mux hub.Mux
		c.Handle(&mux)
		server, err := hub.NewServer(hub.ServerConfig{Listener: net, Directory: c, Mux: &mux})
		if err != nil {
			t.Fatal(err)
		}
		var down hubtest.Sink
		var up hubtest.AckedSource
		up.Put(hub.Key{Resource: "nodes", Name: "edge-7"}, 1, `{"metadata":{"name":"edge-7"},"status":{"phase":"Running"}}`)
		up.Put(hub.Key{Resource: "pods/status", Namespace: "a", Name: "web"}, 2,
			`{"metadata":{"namespace":"a","name":"web","uid":"u-1"},"status":{"phase":"Running"}}`)
		up.Put(hub.Key{Resource: "events", Namespace: "a", Name: "broken"}, 3, "\x00")
		client, err := hub.NewClient(hub.ClientConfig{Dialer: net.Dialer("edge-7"), Node: "edge-7", Down: &down, Up: &up})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		edgeCtx, unplug := context.WithCancel(ctx)
		done := make(chan error, 3)
		go func() { done <- c.Run(ctx, server) }()
		<-c.Ready()
		go func() { done <- server.Run(ctx) }()
		go func() { done <- client.Run(edgeCtx) }()
		time.Sleep(5 * time.Second)
		synctest.Wait()

		if held := down.Held(hub.Key{Resource: "pods", Namespace: "a", Name: "web"}); held != "7" {
			t.Errorf("the edge holds version %q of its pod", held)
		}
		pod, err := kube.CoreV1().Pods("a").Get(ctx, "web", metav1.GetOptions{})
		if err != nil || pod.Status.Phase != corev1.PodRunning {
			t.Errorf("pod %+v, %v", pod, err)
		}
		if got := link(t, kube); got != corev1.ConditionTrue {
			t.Errorf("EdgeConnected is %q with a link", got)
		}
		// Events are events, whose rate is bounded, and no state.
		side, err := c.Attach(ctx, hub.Hello{Node: "edge-7"})
		if err != nil {
			t.Fatal(err)
		}
		key, text := hub.Key{Resource: "events", Namespace: "a", Name: "e"}, []byte(`{"metadata":{"namespace":"a","name":"e"}}`)
		if err := side.Up.Apply(ctx, []hub.Object{{Key: key, Version: "4", Body: text}}); !errors.Is(err, &hub.Error{Code: hub.CodeUnsupported}) {
			t.Errorf("an event as state: %v", err)
		}
		if err := side.Inbox.Append(ctx, "s", []hub.Event{{Source: "s", ID: 1, Key: key, Body: text}}); err != nil {
			t.Errorf("an event: %v", err)
		}
		if _, err := kube.CoreV1().Events("a").Get(ctx, "e", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		unplug()
		time.Sleep(nodelifecycle.Grace + 2*time.Second)
		synctest.Wait()
		if got := link(t, kube); got != corev1.ConditionFalse {
			t.Errorf("EdgeConnected is %q without a link", got)
		}
		cancel()
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func link(t *testing.T, kube *fake.Clientset) corev1.ConditionStatus {
	t.Helper()
	node, err := kube.CoreV1().Nodes().Get(t.Context(), "edge-7", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type == nodelifecycle.ConditionConnected {
			return c.Status
		}
	}
	return ""
}

func TestNew(t *testing.T) {
	for name, cfg := range map[string]controller.Config{
		"no id": {REST: &rest.Config{}}, "no client": {ID: "x"}, "bad address": {ID: "x", REST: &rest.Config{Host: "http://[::bad"}},
	} {
		if _, err := controller.New(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	given := &rest.Config{Host: "http://127.0.0.1:1", QPS: 3}
	if _, err := controller.New(controller.Config{ID: "x", REST: given}); err != nil || given.QPS != 3 || given.WrapTransport != nil {
		t.Errorf("%v; the caller's configuration is now %+v", err, given)
	}
}

// A cloud and an edge in one program, with a fake in place of the API server.
func Example() {
	c, _, err := newController(boundPod("edge-7"))
	if err != nil {
		fmt.Println(err)
		return
	}
	net := memconn.New(memconn.Config{})
	server, err := hub.NewServer(hub.ServerConfig{Listener: net, Directory: c})
	if err != nil {
		fmt.Println(err)
		return
	}
	var held hubtest.Sink
	edge, err := hub.NewClient(hub.ClientConfig{Dialer: net.Dialer("edge-7"), Node: "edge-7", Down: &held})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan error, 3)
	go func() { done <- c.Run(ctx, server) }()
	<-c.Ready()
	go func() { done <- server.Run(ctx) }()
	go func() { done <- edge.Run(ctx) }()

	pod := hub.Key{Resource: "pods", Namespace: "a", Name: "web"}
	err = held.Wait(ctx, func() bool { return held.Held(pod) != "" })
	fmt.Println("the edge holds", pod, "version", held.Held(pod), err)
	cancel()
	for range 3 {
		<-done
	}
	// Output: the edge holds pods/a/web version 7 <nil>
}
