package csitest_test

import (
	"testing"

	"github.com/edgekit/edgekit/edged/csi/csitest"
)

// A test runs a driver beside a csi.Registry of the same folder, and looks at its calls.
func ExampleDriver() {
	_ = func(t *testing.T, sockets string) {
		driver, err := csitest.New(csitest.Config{Name: "folders.csi.example.com", Node: "n", Folder: t.TempDir(), Registry: sockets})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- driver.Run(t.Context()) }()
		// ... a pod with a volume of the driver starts ...
		t.Log(driver.Calls())
	}
	// Output:
}
