package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
	twinmqtt "github.com/edgekit/edgekit/twin/mqtt"
)

const (
	room  = "home/livingroom" // the device's namespace/name
	topic = "$hw/events/device/" + room + "/twin/"
)

// taste runs a whole small gateway and an app that talks to it, and tells
// what happens.
func taste(parent context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(parent, 30*time.Second)
	defer cancel()
	tell := teller(out)

	tell("1", "A gateway in one process: twins in a store, an MQTT broker, a driver.")
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
		defer cancel() // the story's end ends the rest
		select {
		case <-inside.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		return story(ctx, tell, engine, "tcp://"+embedded.Addr().String())
	})
	if err := group.Wait(); err != nil && parent.Err() == nil {
		return err
	}
	return nil
}

// story adds a device and changes a wish, as the gateway and as an app.
func story(ctx context.Context, tell func(step, format string, args ...any), engine *twin.Engine, address string) error {
	tell("2", "An app connects to the broker at %s and listens to %s#", address, topic)
	app, seen, stop, err := connect(ctx, address)
	if err != nil {
		return err
	}
	defer stop()

	tell("3", "A device is declared: %s, protocol %q, the room shall have 21 degrees.", room, protocol)
	put, err := devicespec.Declare(roomSpec())
	if err != nil {
		return err
	}
	if err := engine.Put(ctx, room, put); err != nil {
		return err
	}
	if err := watch(ctx, tell, seen, "21"); err != nil {
		return err
	}

	tell("4", "The app wishes for 23 degrees: it publishes to %supdate", topic)
	wish := `{"event_id":"app-1","twin":{"target":{"expected":{"value":"23"}}}}`
	if err := app.Publish(ctx, bus.Message{Topic: topic + "update", Payload: []byte(wish), QoS: bus.AtLeastOnce}); err != nil {
		return err
	}
	if err := watch(ctx, tell, seen, "23"); err != nil {
		return err
	}

	d, _ := engine.Device(room)
	tell("5", "Done. The twin as the gateway keeps it (state %s):", d.State)
	for _, name := range []string{"target", "temperature"} {
		t := d.Twins[name]
		tell("", "   %-12s expected %-5s actual %s", name, text(t.Expected), text(t.Actual))
	}
	tell("", "Next: driver.go shows the whole driver; -broker and -node run it beside edgecore.")
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

// connect is an app: an MQTT client that hands on what it sees of the room.
func connect(ctx context.Context, address string) (app *bus.Bus, seen <-chan bus.Message, stop func(), err error) {
	outside, err := client.New(client.Config{URL: address})
	if err != nil {
		return nil, nil, nil, err
	}
	app, err = bus.New(bus.Config{Mode: bus.External, External: outside})
	if err != nil {
		return nil, nil, nil, err
	}
	messages := make(chan bus.Message, 64)
	_, err = app.Subscribe(topic+"#", func(ctx context.Context, m bus.Message) {
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
		_ = app.Run(ctx) // an app at a broker that goes away waits for it
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

// watch tells of what the app sees until the room has the temperature that is
// wished for.
func watch(ctx context.Context, tell func(step, format string, args ...any), seen <-chan bus.Message, goal string) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the room did not get %s degrees: %w", goal, ctx.Err())
		case m := <-seen:
			reached, err := explain(tell, m, goal)
			if err != nil {
				return err
			}
			if reached {
				return nil
			}
		}
	}
}

// explain tells what one message means and reports whether the temperature is
// the wished one.
func explain(tell func(step, format string, args ...any), m bus.Message, goal string) (reached bool, err error) {
	type side struct {
		Value string `json:"value"`
	}
	type state struct {
		Expected *side `json:"expected"`
		Actual   *side `json:"actual"`
	}
	var p struct {
		Delta map[string]string `json:"delta"`
		Twin  map[string]struct {
			Last    *state `json:"last"`
			Current *state `json:"current"`
		} `json:"twin"`
	}
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		return false, err
	}
	kind := strings.TrimPrefix(m.Topic, topic)
	switch kind {
	case "update/result":
		tell("", "   %-16s the wish is in the store", kind)
	case "update/delta":
		for name, value := range p.Delta {
			tell("", "   %-16s %s is not yet %s: the driver has work", kind, name, value)
		}
	case "update/document":
		for name, t := range p.Twin {
			switch {
			case t.Current == nil:
			case t.Last == nil || t.Last.Expected == nil && t.Current.Expected != nil || t.Last.Expected != nil && *t.Last.Expected != *t.Current.Expected:
				if t.Current.Expected != nil {
					tell("", "   %-16s %s is expected to be %s", kind, name, t.Current.Expected.Value)
				}
			case t.Current.Actual != nil:
				tell("", "   %-16s %s is now %s", kind, name, t.Current.Actual.Value)
				reached = reached || name == "temperature" && t.Current.Actual.Value == goal+".0"
			}
		}
	}
	return reached, nil
}

// teller prints lines, numbered steps with a blank line before.
func teller(out io.Writer) func(step, format string, args ...any) {
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
