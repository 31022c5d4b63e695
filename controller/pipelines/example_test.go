package pipelines_test

import (
	"fmt"

	"github.com/edgekit/edgekit/controller/pipelines"
)

// A Controller needs the clients of a cloudcore.
func Example() {
	_, err := pipelines.New(pipelines.Config{})
	fmt.Println(err)
	// Output: controller/pipelines: Config.Cloud, Dynamic, Nodes and ID are required
}
