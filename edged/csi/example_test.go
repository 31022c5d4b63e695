package csi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/edged/csi"
)

// A Registry finds the CSI drivers whose registrars put a socket into its folder.
func ExampleRegistry() {
	dir, err := os.MkdirTemp("", "csi")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	drivers, err := csi.New(csi.Config{Folder: filepath.Join(dir, "plugins_registry")})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- drivers.Run(ctx) }()
	if _, ok := drivers.Driver("hostpath.csi.k8s.io"); !ok {
		fmt.Println("the driver has not registered")
	}
	cancel()
	if err := <-ended; err != nil {
		fmt.Println(err)
	}
	// Output: the driver has not registered
}
