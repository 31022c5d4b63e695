package jobs_test

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/jobs"
)

// A program that embeds the cloud's half gives it clients and the edge nodes, and passes
// Source and Writers on to the sessions of nodes. Package controller does so by itself.
func Example() {
	kube := controllertest.NewClientset()
	nodes, err := edge.NewNodeStore(kube, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := jobs.New(jobs.Config{
		Cloud: kube, Dynamic: dynamicfake.NewSimpleDynamicClient(runtime.NewScheme()),
		Nodes: nodes, ID: "cloudcore-1", Namespace: "edgekit-system",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(jobs.Resources(), len(c.Writers()), c.Stats().Leading)
	// Output: [nodejobs] 1 false
}
