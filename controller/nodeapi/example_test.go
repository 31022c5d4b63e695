package nodeapi_test

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/nodeapi"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// A node that asks for Services, and may have them, gets all of the cluster's.
func ExampleController_Source() {
	kube := controllertest.NewClientset(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", ResourceVersion: "7"}})
	nodes, err := edge.NewNodeStore(kube, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	pods, err := edge.New(edge.Config{Cloud: kube, NodeClient: kube, Nodes: nodes})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := nodeapi.New(nodeapi.Config{
		Cloud: kube, NodeClient: kube, Accounts: pods, Namespace: "edgekit-system", Services: nodeapi.ServicesEvery,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.Run(ctx) })

	source := c.Source("edge-1", []string{wire.Services})
	stop := source.Subscribe(func(hub.Key) {})
	versions, err := source.Versions(ctx)
	if err != nil {
		fmt.Println(err)
	}
	for key, version := range versions {
		fmt.Println(key, "version", version)
	}
	stop()
	cancel()
	fmt.Println(g.Wait())
	// Output:
	// services/shop/web version 7
	// <nil>
}
