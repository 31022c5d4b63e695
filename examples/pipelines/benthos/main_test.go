package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/topics"
)

// TestStream runs stream.yaml beside an edgekit broker. What came while Benthos was away comes when it is
// back; what is no temperature goes to its own topic and does not stop the others.
func TestStream(t *testing.T) {
	config, err := os.ReadFile("stream.yaml")
	if err != nil {
		t.Fatal(err)
	}
	inside, url := bustest.Broker(t)
	got := make(chan string, 64)
	for _, filter := range []string{"$hw/events/device/+/+/twin/update", "plant/refused"} {
		stop, err := inside.Subscribe(filter, func(_ context.Context, m bus.Message) {
			if m.Topic == "plant/refused" {
				got <- "refused " + string(m.Payload)
				return
			}
			var update topics.TwinUpdateMessage
			device, _, ok := topics.ParseDevice(m.Topic)
			if err := json.Unmarshal(m.Payload, &update); err != nil || !ok {
				t.Errorf("%s: %s: %v", m.Topic, m.Payload, err)
				return
			}
			got <- device + " " + *update.Twin["temperature"].Actual.Value
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	expect := func(want string) {
		t.Helper()
		for {
			select {
			case g := <-got:
				if g == "plant/ready 100.0" { // from before the subscription was seen to be there
					continue
				}
				if g != want {
					t.Errorf("got %q, want %q", g, want)
				}
				return
			case <-time.After(30 * time.Second):
				t.Fatalf("no %q", want)
			}
		}
	}
	publish := func(topic, body string) {
		t.Helper()
		if err := inside.Publish(t.Context(), bus.Message{Topic: topic, Payload: []byte(body), QoS: bus.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
	}
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		env := func(name string) (string, bool) { return url, name == "MQTT_BROKER" }
		go func() { done <- run(ctx, string(config), env, slog.New(slog.DiscardHandler)) }()
		return func() { cancel(); <-done }
	}
	stop := start()
	ready := time.NewTicker(50 * time.Millisecond)
	defer ready.Stop()
waiting:
	for {
		publish("plant/ready/temp", `{"fahrenheit":212}`)
		select {
		case g := <-got:
			if g != "plant/ready 100.0" {
				t.Fatal(g)
			}
			break waiting
		case <-ready.C:
		}
	}
	publish("plant/boiler/temp", `{"fahrenheit":194}`)
	expect("plant/boiler 90.0")
	publish("plant/frozen/temp", `{"fahrenheit":-40}`)
	publish("plant/broken/temp", `no JSON`)
	expect("refused no JSON")
	stop()
	publish("plant/pump/temp", `{"fahrenheit":122}`)
	stop = start()
	defer stop()
	expect("plant/pump 50.0")
}
