package mqtt_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/mqtt"
)

func TestMain(m *testing.M) {
	if cfg := os.Getenv(chaosEnv); cfg != "" {
		if err := chaosPart(cfg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// node is an engine with its topics on a bus, and a client at that bus.
type node struct {
	engine    *twin.Engine
	transport *bustest.Transport
	bus       *bus.Bus
	bridge    *mqtt.Bridge
	got       chan bus.Message
}

var clock = time.UnixMilli(1760000000044)

func start(t *testing.T) *node {
	t.Helper()
	return startAt(t, func() time.Time { return clock })
}

func startAt(t *testing.T, now func() time.Time) *node {
	t.Helper()
	n := startWith(t, memstore.New(), now)
	n.want(t, "$hw/events/node/node/membership/detail/result", `"devices":[]`)
	return n
}

func startWith(t *testing.T, store meta.Store, now func() time.Time) *node {
	t.Helper()
	n := &node{transport: bustest.New(), got: make(chan bus.Message, 1000)}
	var err1, err2, err3 error
	n.engine, err1 = twin.New(twin.Config{Store: store, Now: now})
	n.bus, err2 = bus.New(bus.Config{Internal: n.transport})
	n.bridge, err3 = mqtt.New(mqtt.Config{Engine: n.engine, Bus: n.bus, Node: "node", Now: now})
	_, err4 := n.bus.Subscribe("$hw/#", func(_ context.Context, m bus.Message) { n.got <- m })
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	runs := []func(context.Context) error{n.bridge.Run, n.bus.Run, n.engine.Run}
	ended := make(chan error, len(runs))
	for _, run := range runs {
		go func() { ended <- run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range runs {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return n
}

// say publishes a message as a client.
func (n *node) say(t *testing.T, topic, payload string) {
	t.Helper()
	if err := n.bus.Publish(t.Context(), bus.Message{Topic: topic, Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
	n.want(t, topic, "")
}

// want reads the next message, which must have that topic and contain the parts.
func (n *node) want(t *testing.T, topic string, parts ...string) bus.Message {
	t.Helper()
	select {
	case m := <-n.got:
		if m.Topic != topic {
			t.Fatalf("got %s %s\nwant topic %s", m.Topic, m.Payload, topic)
		}
		for _, part := range parts {
			if !strings.Contains(string(m.Payload), part) {
				t.Errorf("%s has\n%s\nwithout\n%s", topic, m.Payload, part)
			}
		}
		return m
	case <-time.After(time.Minute):
		t.Fatalf("no message on %s", topic)
		return bus.Message{}
	}
}

const boiler = "$hw/events/device/plant/boiler/"

func TestUpdate(t *testing.T) {
	n := start(t)
	if err := n.engine.Put(t.Context(), "plant/boiler", twin.Put{}); err != nil {
		t.Fatal(err)
	}
	n.want(t, "$hw/events/node/node/membership/updated", `"added_devices":[{"id":"plant/boiler","name":"boiler","attributes":{}`, `"removed_devices":null`)
	// The request of PROTOCOLS.md 3.4, and its answers in their order.
	n.say(t, boiler+"twin/update", `{"event_id":"e-2","timestamp":1760000000000,
		"twin":{"temperature":{"actual":{"value":"21"},"metadata":{"type":"int"}},
		        "target":{"expected":{"value":"25"},"optional":true,"metadata":{"type":"int"}},
		        "obsolete":null}}`)
	m := n.want(t, boiler+"twin/update/result", `"event_id":"e-2","timestamp":1760000000044`,
		`"temperature":{"actual":{"value":"21","metadata":{"timestamp":1760000000044}},"optional":true,"metadata":{"type":"int"}}`,
		`"obsolete":null`)
	if m.Property("event_id") != "e-2" || m.QoS != bus.AtLeastOnce {
		t.Errorf("QoS %d, properties %v", m.QoS, m.Properties)
	}
	if strings.Contains(string(m.Payload), "version") {
		t.Errorf("versions are published to clients: %s", m.Payload)
	}
	n.want(t, boiler+"twin/update/document", `"event_id":"e-2"`, `"target":{"last":null,"current":{"expected":{"value":"25"`)
	n.want(t, boiler+"twin/update/delta", `"delta":{"target":"25"}`, `"twin":{"target":{`)

	n.say(t, boiler+"twin/get", `{"event_id":"e-3"}`)
	n.want(t, boiler+"twin/get/result", `"event_id":"e-3"`, `"target":{"expected"`, `"temperature":{"actual"`)

	// A change that is made elsewhere has no result message, but all the others.
	if err := n.engine.SetDesired(t.Context(), "plant/boiler", map[string]string{"target": "26"}); err != nil {
		t.Fatal(err)
	}
	n.want(t, boiler+"twin/update/document", `"last":{"expected":{"value":"25"`, `"current":{"expected":{"value":"26"`)
	n.want(t, boiler+"twin/update/delta", `"delta":{"target":"26"}`)

	if err := n.engine.Remove(t.Context(), "plant/boiler"); err != nil {
		t.Fatal(err)
	}
	n.want(t, "$hw/events/node/node/membership/updated", `"added_devices":null`, `"removed_devices":[{"id":"plant/boiler"`)
}

// TestErrors checks that each bad request is answered on the requester's own topic, with
// its event_id. The device is called dev/node, since these words occur in topics too.
func TestErrors(t *testing.T) {
	n := start(t)
	if err := n.engine.Put(t.Context(), "dev/node", twin.Put{}); err != nil {
		t.Fatal(err)
	}
	n.want(t, "$hw/events/node/node/membership/updated")
	const device = "$hw/events/device/dev/node/"
	tests := []struct{ topic, answer, payload, id, code string }{
		{device + "twin/update", device + "twin/update/result", `{`, "", "400"},
		{device + "twin/update", device + "twin/update/result", `{"event_id":"a"}`, "a", "400"},
		{device + "twin/update", device + "twin/update/result", `{"event_id":"b","twin":{"x":{"actual":{}}}}`, "b", "400"},
		{device + "twin/update", device + "twin/update/result", `{"event_id":"c","twin":{"x":{"expected":{}}}}`, "c", "400"},
		{device + "twin/update", device + "twin/update/result", `{"event_id":"d","twin":{"x":{"actual":{"value":7}}}}`, "d", "400"},
		{device + "twin/update", device + "twin/update/result", `{"event_id":"e","twin":{"x y":{"actual":{"value":"7"}}}}`, "e", "400"},
		{device + "twin/update", device + "twin/update/result", `{"event_id":"f","twin":{"x":{"actual":{"value":"7.5"},"metadata":{"type":"int"}}}}`, "f", "400"},
		{device + "twin/cloud_updated", device + "twin/update/result", `{"event_id":"g","twin":{"x":{"expected":{"value":"7"}}}}`, "g", "400"},
		{device + "state/update", device + "state/update/result", `{"event_id":"h","state":"sleepy"}`, "h", "400"},
		{"$hw/events/device/e/hw/twin/update", "$hw/events/device/e/hw/twin/update/result", `{"event_id":"i","twin":{"x":{"actual":{"value":"7"}}}}`, "i", "404"},
		{"$hw/events/device/e/hw/twin/get", "$hw/events/device/e/hw/twin/get/result", `{"event_id":"j"}`, "j", "404"},
		{"$hw/events/device/e/hw/state/get", "$hw/events/device/e/hw/state/get/result", `{"event_id":"k"}`, "k", "404"},
	}
	for _, tt := range tests {
		n.say(t, tt.topic, tt.payload)
		m := n.want(t, tt.answer, `"code":`+tt.code, `"reason":"`)
		if tt.id != "" && m.Property("event_id") != tt.id {
			t.Errorf("%s: event_id is %q", tt.payload, m.Property("event_id"))
		}
	}
	n.say(t, "$hw/events/device///twin/update", `{}`)
	n.say(t, device+"twin/get", `{"event_id":"fence"}`)
	n.want(t, device+"twin/get/result", `"event_id":"fence"`)
	if n.bridge.Dropped() != 1 {
		t.Errorf("dropped %d requests, want 1", n.bridge.Dropped())
	}
}

func TestStateAndMembership(t *testing.T) {
	n := start(t)
	put := twin.Put{Member: twin.Member{Description: "in the cellar", Spec: json.RawMessage(`{"protocol":{"protocolName":"modbus"}}`), Model: json.RawMessage(`{}`)}}
	if err := n.engine.Put(t.Context(), "plant/boiler", put); err != nil {
		t.Fatal(err)
	}
	n.want(t, "$hw/events/node/node/membership/updated")

	n.say(t, boiler+"state/update", `{"event_id":"e-3","timestamp":1,"state":"online"}`)
	n.want(t, boiler+"state/update/result", `"event_id":"e-3"`, `"device":{"name":"boiler","state":"online","lastOnlineTime":"2025-10-09T08:53:20Z"}`)
	n.say(t, boiler+"state/get", ``)
	n.want(t, boiler+"state/get/result", `"state":"online"`)

	n.say(t, "$hw/events/node/node/membership/get", `{"event_id":"e-4"}`)
	m := n.want(t, "$hw/events/node/node/membership/get/result", `"event_id":"e-4"`, `"description":"in the cellar"`, `"last_online":"2025-10-09T08:53:20Z"`)
	if strings.Contains(string(m.Payload), `"twin"`) {
		t.Errorf("membership/get has twins: %s", m.Payload)
	}
	n.say(t, "$hw/events/node/node/membership/detail", `{"event_id":"e-5"}`)
	n.want(t, "$hw/events/node/node/membership/detail/result", `"event_id":"e-5"`, `"spec":{"protocol":{"protocolName":"modbus"}}`, `"model":{}`)

	// The list comes again when the broker has come back. A new spec is sent alone.
	n.transport.Reconnect()
	n.want(t, "$hw/events/node/node/membership/detail/result", `"spec"`)
	put.Member.Spec = json.RawMessage(`{"protocol":{"protocolName":"opcua"}}`)
	if err := n.engine.Put(t.Context(), "plant/boiler", put); err != nil {
		t.Fatal(err)
	}
	n.want(t, "$hw/events/node/node/membership/updated", `"changed_devices":[{"id":"plant/boiler"`, `"opcua"`, `"added_devices":null`)
}

// logged is what a bridge has logged.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// TestStartOrder: the engine runs, and its devices change, before the bus runs, which
// logs no fault. A client that sends bad requests all the time does not fill the log.
func TestStartOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, transport := new(logged), bustest.New()
		engine, err1 := twin.New(twin.Config{Store: memstore.New()})
		b, err2 := bus.New(bus.Config{Internal: transport})
		bridge, err3 := mqtt.New(mqtt.Config{Engine: engine, Bus: b, Node: "node", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 3)
		for _, run := range []func(context.Context) error{bridge.Run, engine.Run} {
			go func() { ended <- run(ctx) }()
		}
		if err := engine.Put(ctx, "plant/boiler", twin.Put{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(log.lines) > 0 {
			t.Errorf("before the bus runs: %q", log.lines)
		}
		go func() { ended <- b.Run(ctx) }()
		synctest.Wait()
		for range 1000 {
			if err := b.Publish(ctx, bus.Message{Topic: "$hw/events/device/a//twin/update"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(log.lines); n != 10 || bridge.Dropped() != 1000 {
			t.Errorf("%d lines for %d requests that name no device, want 10 for 1000", n, bridge.Dropped())
		}
		cancel()
		for range 3 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}
