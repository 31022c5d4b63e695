package host_test

import (
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline/host"
)

// A Host needs to know where edgepipe is.
func Example() {
	_, err := host.New(host.Config{})
	fmt.Println(err)
	// Output: bus/pipeline/host: Config.Store, Reporter and Node are required
}
