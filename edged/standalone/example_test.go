package standalone_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/edged/standalone"
)

// What a pod of such a node refers to does not exist.
func Example() {
	node := standalone.New(nil)
	_, err := node.ConfigMap(context.Background(), "default", "settings")
	fmt.Println(err)
	// Output: edged/standalone: config map default/settings does not exist: this node has no API server
}
