package nodestatus_test

import (
	"context"
	"fmt"
	"os"

	"github.com/edgekit/edgekit/edged/edgedtest"
	"github.com/edgekit/edgekit/edged/nodestatus"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// A Reporter reports the Node of its machine; here to an API server in memory.
func Example() {
	api := edgedtest.NewAPI()
	reporter, err := nodestatus.New(nodestatus.Config{
		NodeName: "gate-7", Root: os.TempDir(), Runtime: runtimetest.New(), Reports: api,
		Labels: map[string]string{"site": "berlin"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- reporter.Run(ctx) }()
	<-reporter.Ready()
	cancel()
	node := api.ReportedNode()
	fmt.Println(node.Name, node.Labels["site"], node.Status.NodeInfo.ContainerRuntimeVersion, <-ended)
	// Output: gate-7 berlin fake://1 <nil>
}
