package processtest_test

import (
	"testing"

	"github.com/edgekit/edgekit/hub/hubbench/processtest"
)

// A test starts a process of its own binary and calls its methods.
func ExampleStart() {
	_ = func(t *testing.T) {
		cloud := processtest.Start(t, processtest.Config{Role: "cloud"})
		var nodes int
		cloud.Call("Start", "127.0.0.1:0", &nodes) // (*cloud).Start
	}
	// Output:
}
