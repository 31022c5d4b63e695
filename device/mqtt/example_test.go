package mqtt_test

import (
	"fmt"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/device/mqtt"
)

// A mapper beside edgecore: run b and device.Run with this link.
func Example() {
	outside, err := client.New(client.Config{URL: "tcp://127.0.0.1:1884"})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: outside})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = mqtt.New(mqtt.Config{Bus: b, Node: "edge/7"})
	fmt.Println(err)
	// Output: device/mqtt: Config.Node is "edge/7": it must be the node's name, without slashes and wildcards
}
