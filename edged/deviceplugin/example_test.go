package deviceplugin_test

import (
	"context"
	"fmt"
	"os"

	"github.com/edgekit/edgekit/edged/deviceplugin"
	"github.com/edgekit/edgekit/edged/devices"
)

// A Server takes the registrations of device plugins in a folder.
func ExampleServer() {
	dir, err := os.MkdirTemp("", "plugins")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	manager, err := devices.New(devices.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := deviceplugin.New(deviceplugin.Config{Dir: dir, Devices: manager})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	<-server.Ready()
	entries, err := os.ReadDir(dir)
	fmt.Println(entries[0].Name(), err)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// kubelet.sock <nil>
	// <nil>
}
