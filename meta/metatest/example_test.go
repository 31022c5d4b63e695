package metatest_test

import (
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/meta/metatest"
)

// A test of an implementation is one call.
func ExampleRun() {
	_ = func(t *testing.T) { // TestStore
		metatest.Run(t, func(*testing.T) meta.Store { return memstore.New() })
	}
	// Output:
}
