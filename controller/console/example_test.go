package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/edge"
)

// A program that embeds the console gives it what it has of the cluster, and serves it. Package
// controller does so by itself.
func Example() {
	kube := controllertest.NewClientset()
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
	things, err := devices.New(devices.Config{Cloud: kube, Dynamic: dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := console.New(console.Config{
		REST: &rest.Config{Host: "https://10.96.0.1"}, Cloud: kube, Nodes: nodes, Pods: pods, Devices: things,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://localhost/console/api/v1/nodes", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 401 {"error":{"code":401,"message":"log in: there is no session, or it is over"}}
}
