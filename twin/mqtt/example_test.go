package mqtt_test

import (
	"fmt"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// A gateway with twins on MQTT: run engine, b and bridge side by side.
func Example() {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		fmt.Println(err)
		return
	}
	embedded, err := broker.New(broker.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := bus.New(bus.Config{Mode: bus.Internal, Internal: embedded})
	if err != nil {
		fmt.Println(err)
		return
	}
	bridge, err := mqtt.New(mqtt.Config{Engine: engine, Bus: b, Node: "edge-7"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(bridge.Dropped())
	// Output: 0
}
