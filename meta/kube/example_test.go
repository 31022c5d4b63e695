package kube_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := memstore.New()
	defer store.Close()
	m, err := manager.New(manager.Config{Store: store, Node: "gate-7"})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := kube.New(kube.Config{Store: store, Manager: m, Node: "gate-7"})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()

	// The link brings a pod.
	key := hub.Key{Resource: "pods", Namespace: "plant", Name: "web"}
	body := []byte(`{"metadata":{"namespace":"plant","name":"web","uid":"u1"},"spec":{"nodeName":"gate-7"}}`)
	if err := m.Down().Apply(ctx, []hub.Object{{Key: key, Version: "1", Body: body}}); err != nil {
		fmt.Println(err)
	}
	pods, err := c.Pods(ctx)
	if err != nil {
		fmt.Println(err)
	}
	for list := range pods {
		if len(list) > 0 {
			fmt.Println("run", list[0].Namespace, list[0].Name)
			break
		}
	}
	err = c.PodStatus(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "web", UID: "u1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	})
	waiting, _ := m.StateOutbox().Versions(ctx)
	for key := range waiting {
		fmt.Println("to send:", key, err)
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// run plant web
	// to send: pods/status/plant/web <nil>
	// <nil>
}
