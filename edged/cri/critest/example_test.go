package critest_test

import (
	"testing"

	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// A program that speaks CRI is tested without a container runtime.
func ExampleServe() {
	_ = func(t *testing.T) {
		fake := runtimetest.New()
		fake.AddImage("docker.io/library/busybox:latest")
		client, err := cri.New(cri.Config{Socket: critest.Serve(t, fake)})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
	}
	// Output:
}
