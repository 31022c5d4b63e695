package mqtt_test

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// A gateway with twins on MQTT. An app reports a value and gets the result.
func Example() {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		fmt.Println(err)
		return
	}
	embedded, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
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
	announced := make(chan struct{}, 10) // the bridge announces the node's devices when it is ready
	_, err = b.Subscribe(topics.Node("edge-7", topics.Result(topics.MembershipDetail)), func(context.Context, bus.Message) { announced <- struct{}{} })
	if err != nil {
		fmt.Println(err)
		return
	}
	answers := make(chan topics.TwinUpdateMessage, 1)
	_, err = b.Subscribe(topics.Device("plant/boiler", topics.Result(topics.TwinUpdate)), func(_ context.Context, m bus.Message) {
		var answer topics.TwinUpdateMessage
		if err := json.Unmarshal(m.Payload, &answer); err == nil {
			answers <- answer
		}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return engine.Run(ctx) })
	group.Go(func() error { return b.Run(ctx) })
	group.Go(func() error { return bridge.Run(ctx) })
	<-announced
	if err := engine.Put(ctx, "plant/boiler", twin.Put{}); err != nil {
		fmt.Println(err)
	}

	update := topics.TwinUpdateMessage{Twin: map[string]*topics.Twin{"temperature": {Actual: topics.Text("21")}}}
	update.EventID = "app-1"
	payload, err := json.Marshal(update)
	if err != nil {
		fmt.Println(err)
	}
	err = b.Publish(ctx, bus.Message{Topic: topics.Device("plant/boiler", topics.TwinUpdate), Payload: payload, QoS: bus.AtLeastOnce})
	if err != nil {
		fmt.Println(err)
	}
	answer := <-answers
	fmt.Println(answer.EventID, answer.Twin["temperature"].Actual.Text())
	cancel()
	fmt.Println(group.Wait())
	// Output:
	// app-1 21
	// <nil>
}
