package joinmetrics_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/joinmetrics"
)

// A node's program serves when its certificate ends.
func ExampleNewNode() {
	register := func(registry *prometheus.Registry, identity *join.Identity) error {
		collector, err := joinmetrics.NewNode(identity)
		if err != nil {
			return err
		}
		return registry.Register(collector)
	}
	fmt.Println(register(prometheus.NewRegistry(), nil))
	// Output: joinmetrics: an Identity is required
}
