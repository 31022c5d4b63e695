package pluginregistry_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/edged/csi"
	"github.com/edgekit/edgekit/edged/pluginregistry"
)

// A Registry finds plugins of all types for which it has a Handler.
func ExampleRegistry() {
	dir, err := os.MkdirTemp("", "plugins")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	drivers, err := csi.New(csi.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	plugins, err := pluginregistry.New(pluginregistry.Config{
		Folder: filepath.Join(dir, "plugins_registry"), Handlers: map[string]pluginregistry.Handler{pluginregistry.CSIPlugin: drivers},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- plugins.Run(ctx) }()
	fmt.Println("drivers:", drivers.Drivers())
	cancel()
	if err := <-ended; err != nil {
		fmt.Println(err)
	}
	// Output: drivers: []
}
