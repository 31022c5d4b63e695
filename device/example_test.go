package device_test

import (
	"context"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// lamp is a whole driver: one property, which can be set.
type lamp struct{ on string }

func (l *lamp) Open(context.Context, device.Instance) error        { l.on = "false"; return nil }
func (l *lamp) Read(context.Context, string) (string, error)       { return l.on, nil }
func (l *lamp) Write(_ context.Context, _ string, on string) error { l.on = on; return nil }
func (l *lamp) Close() error                                       { return nil }

func ExampleRun() {
	link := devicetest.NewLink(device.Instance{
		ID:      "home/lamp",
		Spec:    schema.DeviceSpec{Protocol: schema.Protocol{Name: "lamp"}, Properties: []schema.Property{{Name: "on"}}},
		Desired: map[string]string{"on": "true"},
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error)
	go func() {
		ended <- device.Run(ctx, device.Config{
			Protocol: "lamp",
			New:      func() device.Driver { return new(lamp) },
			Link:     link,
		})
	}()
	_ = link.Wait(ctx, func() bool { // else it shows below
		return link.StateOf("home/lamp") == device.Online && link.Values("home/lamp")["on"] == "true"
	})
	fmt.Println(link.StateOf("home/lamp"), link.Values("home/lamp"))
	cancel()
	fmt.Println(<-ended)
	// Output:
	// online map[on:true]
	// <nil>
}
