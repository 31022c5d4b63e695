package devicetest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// A test of a Link or a mapper uses a Device in memory.
func Example() {
	boiler := new(devicetest.Device)
	boiler.Set("temperature", "21.5")
	link := devicetest.NewLink(device.Instance{
		ID:   "plant/boiler",
		Spec: schema.DeviceSpec{Protocol: schema.Protocol{Name: "memory"}, Properties: []schema.Property{{Name: "temperature"}}},
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	ended := make(chan error)
	go func() {
		ended <- device.Run(ctx, device.Config{Protocol: "memory", New: func() device.Driver { return boiler }, Link: link})
	}()
	err := link.Wait(ctx, func() bool { return link.Reports() > 0 })
	cancel()
	fmt.Println(link.Values("plant/boiler"), err, <-ended)
	// Output: map[temperature:21.5] <nil> <nil>
}
