package apiservertest_test

import (
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install/apiservertest"
)

// A test starts a server and is its administrator.
func ExampleStart() {
	_ = func(t *testing.T) {
		server := apiservertest.Start(t)
		if _, err := kubernetes.NewForConfig(server.Admin); err != nil {
			t.Fatal(err)
		}
	}
	// Output:
}
