package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
	twinmqtt "github.com/edgekit/edgekit/twin/mqtt"
)

const room = "home/livingroom" // the device's namespace/name

// runStandalone runs a small gateway and an app that talks to it, and prints what
// happens.
func runStandalone(parent context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(parent, 30*time.Second)
	defer cancel()
	printf := newPrinter(out)

	printf("1", "A gateway in one process: twins in a store, an MQTT broker, a driver.")
	store := memstore.New() // badgerstore keeps it on disk
	defer store.Close()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		return err
	}
	embedded, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
	if err != nil {
		return err
	}
	inside, err := bus.New(bus.Config{Mode: bus.Internal, Internal: embedded})
	if err != nil {
		return err
	}
	topics, err := twinmqtt.New(twinmqtt.Config{Engine: engine, Bus: inside, Node: "gateway"})
	if err != nil {
		return err
	}
	link, err := inprocess.New(inprocess.Config{Engine: engine})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return engine.Run(ctx) })
	group.Go(func() error { return inside.Run(ctx) })
	group.Go(func() error { return topics.Run(ctx) })
	group.Go(func() error {
		return device.Run(ctx, device.Config{
			Protocol: protocol,
			New:      func() device.Driver { return new(thermometer) },
			Link:     link,
		})
	})
	group.Go(func() error {
		defer cancel() // the app's end ends the rest
		select {
		case <-inside.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		return runApp(ctx, printf, engine, "tcp://"+embedded.Addr().String())
	})
	if err := group.Wait(); err != nil && parent.Err() == nil {
		return err
	}
	return nil
}

// runApp adds a device as the gateway, and changes its desired value as an app.
func runApp(ctx context.Context, printf printer, engine *twin.Engine, address string) error {
	twinTopics := topics.Device(room, "twin/#")
	printf("2", "An app connects to the broker at %s and subscribes to %s", address, twinTopics)
	app, seen, stop, err := connect(ctx, address, twinTopics)
	if err != nil {
		return err
	}
	defer stop()

	printf("3", "A device is declared: %s, protocol %q, the room shall have 21 degrees.", room, protocol)
	put, err := devicespec.Declare(roomSpec())
	if err != nil {
		return err
	}
	if err := engine.Put(ctx, room, put); err != nil {
		return err
	}
	if err := watch(ctx, printf, seen, "21"); err != nil {
		return err
	}

	printf("4", "The app sets 23 degrees: it publishes to %s", topics.Device(room, topics.TwinUpdate))
	update := topics.TwinUpdateMessage{Twin: map[string]*topics.Twin{"target": {Expected: topics.Text("23")}}}
	update.Stamp("app-1", time.Now())
	payload, err := json.Marshal(update)
	if err != nil {
		return err
	}
	if err := app.Publish(ctx, bus.Message{Topic: topics.Device(room, topics.TwinUpdate), Payload: payload, QoS: bus.AtLeastOnce}); err != nil {
		return err
	}
	if err := watch(ctx, printf, seen, "23"); err != nil {
		return err
	}

	d, _ := engine.Device(room)
	printf("5", "Done. The twin as the gateway keeps it (state %s):", d.State)
	for _, name := range []string{"target", "temperature"} {
		t := d.Twins[name]
		printf("", "   %-12s expected %-5s actual %s", name, text(t.Expected), text(t.Actual))
	}
	printf("", "Next: driver.go shows the whole driver; -broker and -node run it beside edgecore.")
	return nil
}

// roomSpec is what a Device and a DeviceModel say in a cluster.
func roomSpec() (schema.DeviceSpec, schema.DeviceModelSpec) {
	config, err := schema.NewOptions(connection{Start: 20.4, Speed: 2})
	if err != nil {
		panic(err) // of two numbers
	}
	spec := schema.DeviceSpec{
		Protocol: schema.Protocol{Name: protocol, Config: config},
		Properties: []schema.Property{
			{Name: "temperature", CollectCycle: 250},
			{Name: "target", CollectCycle: 5000, Desired: &schema.Value{Value: "21"}},
		},
	}
	model := schema.DeviceModelSpec{Properties: []schema.ModelProperty{
		{Name: "temperature", Type: schema.TypeFloat, AccessMode: schema.ReadOnly, Unit: "C"},
		{Name: "target", Type: schema.TypeFloat, AccessMode: schema.ReadWrite, Minimum: "5", Maximum: "30", Unit: "C"},
	}}
	return spec, model
}

// connect is an app: an MQTT client that passes on the messages of the room.
func connect(ctx context.Context, address, filter string) (app *bus.Bus, seen <-chan bus.Message, stop func(), err error) {
	outside, err := client.New(client.Config{URL: address})
	if err != nil {
		return nil, nil, nil, err
	}
	app, err = bus.New(bus.Config{Mode: bus.External, External: outside})
	if err != nil {
		return nil, nil, nil, err
	}
	messages := make(chan bus.Message, 64)
	_, err = app.Subscribe(filter, func(ctx context.Context, m bus.Message) {
		select {
		case messages <- m:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = app.Run(ctx) // an app reconnects when its broker is lost
	}()
	stop = func() { cancel(); <-ended }
	select {
	case <-app.Ready():
		return app, messages, stop, nil
	case <-ctx.Done():
		stop()
		return nil, nil, nil, ctx.Err()
	}
}

// watch prints the messages that the app receives until the room has the desired
// temperature.
func watch(ctx context.Context, printf printer, seen <-chan bus.Message, goal string) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the room did not get %s degrees: %w", goal, ctx.Err())
		case m := <-seen:
			reached, err := explain(printf, m, goal)
			if err != nil {
				return err
			}
			if reached {
				return nil
			}
		}
	}
}

// explain prints what one message means and reports whether the temperature is
// the desired one.
func explain(printf printer, m bus.Message, goal string) (reached bool, err error) {
	_, action, _ := topics.ParseDevice(m.Topic)
	switch action {
	case topics.Result(topics.TwinUpdate):
		printf("", "   %-21s the desired value is in the store", action)
	case topics.TwinDelta:
		var delta topics.TwinDeltaMessage
		if err := json.Unmarshal(m.Payload, &delta); err != nil {
			return false, err
		}
		for name, value := range delta.Delta {
			printf("", "   %-21s %s is not yet %s: the driver has work", action, name, value)
		}
	case topics.TwinDocument:
		var document topics.TwinDocumentMessage
		if err := json.Unmarshal(m.Payload, &document); err != nil {
			return false, err
		}
		for name, t := range document.Twin {
			last, current := cmp.Or(t.Last, &topics.Twin{}), cmp.Or(t.Current, &topics.Twin{})
			switch {
			case last.Expected.Text() != current.Expected.Text():
				printf("", "   %-21s %s is expected to be %s", action, name, current.Expected.Text())
			case current.Actual != nil:
				printf("", "   %-21s %s is now %s", action, name, current.Actual.Text())
				reached = reached || name == "temperature" && current.Actual.Text() == goal+".0"
			}
		}
	}
	return reached, nil
}

// printer prints a line; one with a step has a number and a blank line before it.
type printer func(step, format string, args ...any)

func newPrinter(out io.Writer) printer {
	return func(step, format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		if step != "" {
			line = "\n" + step + ". " + line
		}
		fmt.Fprintln(out, line)
	}
}

func text(v *twin.Value) string {
	if v == nil {
		return "-"
	}
	return v.Value
}
