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
	"github.com/edgekit/edgekit/device/mqtt"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
	twinmqtt "github.com/edgekit/edgekit/twin/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge is edgecore's device part: engine, broker and topics.
type edge struct {
	engine *twin.Engine
	addr   string
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
	stop := start(t, topics.Run, inside.Run, engine.Run)
	<-inside.Ready()
	return edge{engine: engine, addr: "tcp://" + b.Addr().String(), stop: stop}
}

// start runs all until stop is called or the test ends.
func start(t *testing.T, runs ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, len(runs))
	for _, run := range runs {
		go func() { ended <- run(ctx) }()
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range runs {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
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
	start(t, b.Run)
	return link
}

func (e edge) Put(t *testing.T, id, protocol string) {
	put, err := devicespec.Declare(schema.DeviceSpec{
		Protocol:   schema.Protocol{Name: protocol},
		Properties: []schema.Property{{Name: "temperature", CollectCycle: 50}, {Name: "target"}},
	}, schema.DeviceModelSpec{Properties: []schema.ModelProperty{
		{Name: "temperature", Type: schema.TypeFloat, AccessMode: schema.ReadOnly},
		{Name: "target", Type: schema.TypeFloat, AccessMode: schema.ReadWrite},
	}})
	if err := errors.Join(err, e.engine.Put(t.Context(), id, put)); err != nil {
		t.Fatal(err)
	}
}

func (e edge) Remove(t *testing.T, id string) {
	if err := e.engine.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func (e edge) SetDesired(t *testing.T, id, property, value string) {
	if err := e.engine.SetDesired(t.Context(), id, map[string]string{property: value}); err != nil {
		t.Fatal(err)
	}
}

func (e edge) Actual(_ *testing.T, id, property string) string {
	d, _ := e.engine.Device(id)
	if v := d.Twins[property].Actual; v != nil {
		return v.Value
	}
	return ""
}

func (e edge) State(_ *testing.T, id string) string {
	d, _ := e.engine.Device(id)
	return d.State
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
	start(t, b.Run, func(ctx context.Context) error {
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
	start(t, func(ctx context.Context) error {
		return device.Run(ctx, device.Config{
			Protocol: "suite", New: func() device.Driver { return dev }, Link: link,
			Timeout: time.Second, Backoff: 50 * time.Millisecond,
		})
	})
	e.wait(t, "target", "20")
	e.wait(t, "temperature", "18.5")
	if e.State(t, "a/b") != "online" {
		t.Errorf("state is %q", e.State(t, "a/b"))
	}
	e.stop()
	dev.Set("temperature", "19.5")

	e = startEdge(t, store, e.addr)
	e.SetDesired(t, "a/b", "target", "22")
	e.wait(t, "target", "22")
	e.wait(t, "temperature", "19.5")
	if got := dev.Values()["target"]; got != "22" {
		t.Errorf("the device's target is %s, want 22", got)
	}
	if dev.Opens() != 1 {
		t.Errorf("the device was opened %d times, want once", dev.Opens())
	}
}

// wait waits for an actual value.
func (e edge) wait(t *testing.T, property, value string) {
	t.Helper()
	committed := make(chan struct{}, 1)
	defer e.engine.Subscribe(func(twin.Commit) {
		select {
		case committed <- struct{}{}:
		default:
		}
	})()
	deadline := time.After(time.Minute)
	for e.Actual(t, "a/b", property) != value {
		select {
		case <-committed:
		case <-deadline:
			t.Fatalf("%s is %q, want %q", property, e.Actual(t, "a/b", property), value)
		}
	}
}
