package devices_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/devices/devicestest"
	"github.com/edgekit/edgekit/meta/memstore"
)

// A Manager gives the devices of a plugin to the containers of a pod.
func ExampleManager() {
	ctx := context.Background()
	manager, err := devices.New(devices.Config{Store: memstore.New()})
	if err != nil {
		fmt.Println(err)
		return
	}
	// edged/deviceplugin does this for plugins on a socket.
	plugin, err := manager.Connect("vendor.example/widget", &devicestest.Plugin{}, devices.Options{})
	if err == nil {
		err = plugin.SetDevices(devicestest.Devices("a", "b"))
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	// edged does this for pods.
	p := pod("web", "app=2")
	if err := manager.Reserve(p); err != nil {
		fmt.Println("rejected:", err)
		return
	}
	if err := manager.Prepare(ctx, p); err != nil {
		fmt.Println("rejected:", err)
		return
	}
	edits, err := manager.Edits(ctx, p, &p.Spec.Containers[0])
	fmt.Println(edits.Env, err)
	fmt.Println(manager.Reserve(pod("late", "app=1")))
	// Output:
	// map[DEVICES:a,b] <nil>
	// requested number of devices unavailable for vendor.example/widget. Requested: 1, Available: 0
}
