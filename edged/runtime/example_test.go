package runtime_test

import (
	"fmt"

	"github.com/edgekit/edgekit/edged/runtime"
)

// The state of a container prints as a word.
func ExampleContainerState() {
	c := runtime.Container{Name: "main", State: runtime.ContainerRunning}
	fmt.Println(c.Name, c.State)
	// Output: main running
}
