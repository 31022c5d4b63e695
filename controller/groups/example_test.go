package groups_test

import (
	"fmt"

	"github.com/edgekit/edgekit/controller/groups"
)

// A Controller needs clients, the store of the edge nodes, and a name.
func ExampleNew() {
	_, err := groups.New(groups.Config{})
	fmt.Println(err)
	// Output: controller/groups: Config.Cloud, Dynamic and Nodes are required
}
