package sites_test

import (
	"fmt"

	"github.com/edgekit/edgekit/controller/sites"
)

// A Controller needs clients and the store of the edge nodes.
func ExampleNew() {
	_, err := sites.New(sites.Config{})
	fmt.Println(err)
	// Output: controller/sites: Config.Cloud, Dynamic and Nodes are required
}
