package mqtt_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/device/mqtt"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	twinmqtt "github.com/edgekit/edgekit/twin/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge is edgecore's device part: engine, broker and topics.
type edge struct {
	edgetest.Edge
	addr   string
	topics *twinmqtt.Bridge
	stop   func()
}

func startEdge(t *testing.T, store meta.Store, address string) edge {
	t.Helper()
	engine, err1 := twin.New(twin.Config{Store: store})
	b, err2 := broker.New(broker.Config{Address: address})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	inside, err := bus.New(bus.Config{Mode: bus.Internal, Internal: b})
	if err != nil {
		t.Fatal(err)
	}
	topics, err := twinmqtt.New(twinmqtt.Config{Engine: engine, Bus: inside, Node: "edge-7"})
	if err != nil {
		t.Fatal(err)
	}
	stop := edgetest.Run(t, topics.Run, inside.Run, engine.Run)
	<-inside.Ready()
	return edge{Edge: edgetest.Edge{Engine: engine}, addr: "tcp://" + b.Addr().String(), topics: topics, stop: stop}
}

// mapper returns a bus and a link as a mapper beside edgecore has them.
func mapper(t *testing.T, addr string) *mqtt.Link {
	t.Helper()
	outside, err := client.New(client.Config{URL: addr})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: outside})
	if err != nil {
		t.Fatal(err)
	}
	link, err := mqtt.New(mqtt.Config{Bus: b, Node: "edge-7"})
	if err != nil {
		t.Fatal(err)
	}
	edgetest.Run(t, b.Run)
	return link
}

func TestLink(t *testing.T) {
	devicetest.RunLink(t, func(t *testing.T) (device.Link, devicetest.Edge) {
		e := startEdge(t, memstore.New(), "tcp://127.0.0.1:0")
		return mapper(t, e.addr), e
	})
}

// TestProtocol follows the devices of one protocol: those of others never reach the mapper, and
// a device whose protocol changes leaves it.
func TestProtocol(t *testing.T) {
	e := startEdge(t, memstore.New(), "tcp://127.0.0.1:0")
	e.Put(t, "a/meter", "modbus")
	e.Put(t, "a/plc", "opc/ua")
	outside, err := client.New(client.Config{URL: e.addr})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: outside})
	if err != nil {
		t.Fatal(err)
	}
	link, err := mqtt.New(mqtt.Config{Bus: b, Node: "edge-7", Protocol: "modbus"})
	if err != nil {
		t.Fatal(err)
	}
	lists := make(chan []device.Instance, 1000)
	edgetest.Run(t, b.Run, func(ctx context.Context) error {
		return link.Watch(ctx, func(list []device.Instance) { lists <- list })
	})
	until := func(want ...string) {
		t.Helper()
		for {
			select {
			case list := <-lists:
				var ids []string
				for _, d := range list {
					if d.Spec.Protocol.Name != "modbus" {
						t.Errorf("the mapper got %s of %s", d.ID, d.Spec.Protocol.Name)
					}
					ids = append(ids, d.ID)
				}
				if slices.Equal(ids, want) {
					return
				}
			case <-time.After(time.Minute):
				t.Fatalf("the list was never %v", want)
			}
		}
	}
	until("a/meter")
	e.Put(t, "a/camera", "onvif")
	e.Put(t, "a/pump", "modbus")
	until("a/meter", "a/pump")
	e.Put(t, "a/meter", "opc/ua")
	until("a/pump")
	e.Put(t, "a/meter", "modbus")
	e.Remove(t, "a/pump")
	until("a/meter")
}

// TestEdgecoreRestarts runs a whole mapper while its edgecore goes away and
// comes back, with a desired value changed in between.
func TestEdgecoreRestarts(t *testing.T) {
	store := memstore.New()
	e := startEdge(t, store, bustest.Address(t))
	e.Put(t, "a/b", "suite")
	e.SetDesired(t, "a/b", "target", "20")
	dev := new(devicetest.Device)
	dev.Set("temperature", "18.5")
	dev.Set("target", "0")
	link := mapper(t, e.addr)
	edgetest.Run(t, func(ctx context.Context) error {
		return device.Run(ctx, device.Config{
			Protocol: "suite", New: func() device.Driver { return dev }, Link: link,
			Timeout: time.Second, Backoff: 50 * time.Millisecond,
		})
	})
	e.WaitActual(t, "a/b", "target", "20")
	e.WaitActual(t, "a/b", "temperature", "18.5")
	if e.State(t, "a/b") != "online" {
		t.Errorf("state is %q", e.State(t, "a/b"))
	}
	e.stop()
	dev.Set("temperature", "19.5")

	e = startEdge(t, store, e.addr)
	e.SetDesired(t, "a/b", "target", "22")
	e.WaitActual(t, "a/b", "target", "22")
	e.WaitActual(t, "a/b", "temperature", "19.5")
	if got := dev.Values()["target"]; got != "22" {
		t.Errorf("the device's target is %s, want 22", got)
	}
	if dev.Opens() != 1 {
		t.Errorf("the device was opened %d times, want once", dev.Opens())
	}
}
