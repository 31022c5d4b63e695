package mqtt_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/device/mqtt"
	"github.com/edgekit/edgekit/meta/memstore"
)

// program is a mapper beside edgecore that runs.
type program struct {
	dev    *devicetest.Device
	mapper *device.Mapper
	stop   func() // as SIGTERM does; the bus runs on until the mapper has ended
	kill   func() // the bus ends first: nobody hears of it
}

// startProgram starts a mapper of protocol suite under a name.
func startProgram(t *testing.T, addr, name string) *program {
	t.Helper()
	outside, err := client.New(client.Config{URL: addr})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: outside})
	if err != nil {
		t.Fatal(err)
	}
	link, err := mqtt.New(mqtt.Config{Bus: b, Node: "edge-7", Protocol: "suite", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	p := &program{dev: new(devicetest.Device)}
	p.dev.Set("temperature", "18.5")
	p.dev.Set("target", "0")
	p.mapper, err = device.New(device.Config{
		Protocol: "suite", New: func() device.Driver { return p.dev }, Link: link, Timeout: 5 * time.Second, Backoff: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	stopBus := edgetest.Run(t, b.Run)
	stopMapper := edgetest.Run(t, p.mapper.Run)
	p.stop = func() { stopMapper(); stopBus() }
	p.kill = func() { stopBus(); stopMapper() }
	return p
}

// drives lists the devices that a mapper drives once it knows which.
func (p *program) drives(t *testing.T) []string {
	t.Helper()
	select {
	case <-p.mapper.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the mapper never knew its devices")
	}
	var ids []string
	for _, d := range p.mapper.Devices() {
		ids = append(ids, d.ID)
	}
	return ids
}

// TestOneMapper runs several mappers of one protocol: one drives each device, the next waits and
// follows when that one ends, and a mapper that restarts waits for nobody.
func TestOneMapper(t *testing.T) {
	e := startEdge(t, memstore.New(), "tcp://127.0.0.1:0")
	e.Put(t, "a/b", "suite")
	e.SetDesired(t, "a/b", "target", "20")
	first := startProgram(t, e.addr, "first")
	e.WaitActual(t, "a/b", "target", "20")

	second := startProgram(t, e.addr, "second")
	if ids := second.drives(t); len(ids) != 0 {
		t.Errorf("the second mapper drives %v", ids)
	}
	e.SetDesired(t, "a/b", "target", "21")
	e.WaitActual(t, "a/b", "target", "21")
	if first.dev.Values()["target"] != "21" || second.dev.Opens() != 0 {
		t.Errorf("the first mapper's device has %v, the second mapper opened it %d times", first.dev.Values(), second.dev.Opens())
	}

	first.stop()
	e.SetDesired(t, "a/b", "target", "22")
	e.WaitActual(t, "a/b", "target", "22")
	if second.dev.Values()["target"] != "22" || first.dev.Values()["target"] != "21" {
		t.Errorf("the devices have %v and %v", first.dev.Values(), second.dev.Values())
	}
	if state := e.State(t, "a/b"); state != device.Online {
		t.Errorf("the device is %s", state)
	}

	second.kill()
	again := startProgram(t, e.addr, "second") // the claim of the killed one would hold for 45 s
	if ids := again.drives(t); !slices.Equal(ids, []string{"a/b"}) {
		t.Errorf("the restarted mapper drives %v", ids)
	}
	e.SetDesired(t, "a/b", "target", "23")
	e.WaitActual(t, "a/b", "target", "23")
}

// TestClaimOutlivesEdgecore restarts edgecore, which then knows of no claim: who drove the device
// drives it on, without opening it again, and who waited waits.
func TestClaimOutlivesEdgecore(t *testing.T) {
	store := memstore.New()
	e := startEdge(t, store, "tcp://127.0.0.1:0")
	e.Put(t, "a/b", "suite")
	e.SetDesired(t, "a/b", "target", "20")
	first := startProgram(t, e.addr, "first")
	e.WaitActual(t, "a/b", "target", "20")
	second := startProgram(t, e.addr, "second")
	if ids := second.drives(t); len(ids) != 0 {
		t.Fatalf("the second mapper drives %v", ids)
	}
	e.stop()
	e = startEdge(t, store, e.addr)
	e.SetDesired(t, "a/b", "target", "22")
	e.WaitActual(t, "a/b", "target", "22")
	if first.dev.Opens() != 1 || second.dev.Opens() != 0 {
		t.Errorf("the device was opened %d times by the first mapper and %d times by the second", first.dev.Opens(), second.dev.Opens())
	}
}

func TestName(t *testing.T) {
	b, err := bus.New(bus.Config{Mode: bus.External, External: new(client.Client)})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a\n", "\xff", strings.Repeat("x", 129)} {
		if _, err := mqtt.New(mqtt.Config{Bus: b, Node: "n", Name: name}); err == nil || !strings.Contains(err.Error(), "Config.Name") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestWaitingProposesNothing searches for devices with a mapper that waits: it does not know
// which are declared.
func TestWaitingProposesNothing(t *testing.T) {
	e := startEdge(t, memstore.New(), "tcp://127.0.0.1:0")
	e.Put(t, "a/b", "suite")
	link := func(name string) (*mqtt.Link, *bus.Bus) {
		outside, err := client.New(client.Config{URL: e.addr})
		if err != nil {
			t.Fatal(err)
		}
		b, err := bus.New(bus.Config{Mode: bus.External, External: outside})
		if err != nil {
			t.Fatal(err)
		}
		l, err := mqtt.New(mqtt.Config{Bus: b, Node: "edge-7", Protocol: "suite", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return l, b
	}
	watch := func(l *mqtt.Link, b *bus.Bus) (lists chan []device.Instance) {
		lists = make(chan []device.Instance, 1000)
		edgetest.Run(t, b.Run, func(ctx context.Context) error {
			return l.Watch(ctx, func(list []device.Instance) { lists <- list })
		})
		return lists
	}
	holder, holderBus := link("holder")
	if list := <-watch(holder, holderBus); len(list) != 1 {
		t.Fatalf("the holder has %d devices", len(list))
	}
	proposals := make(chan bus.Message, 10)
	if _, err := holderBus.Subscribe("$hw/events/node/+/proposed/suite", func(_ context.Context, m bus.Message) { proposals <- m }); err != nil {
		t.Fatal(err)
	}
	waiter, waiterBus := link("waiter")
	if list := <-watch(waiter, waiterBus); len(list) != 0 {
		t.Fatalf("the waiter has %d devices", len(list))
	}
	if err := waiter.Propose(t.Context(), "suite", []device.Proposal{{Name: "of-the-waiter"}}); err != nil {
		t.Error(err)
	}
	if err := holder.Propose(t.Context(), "suite", []device.Proposal{{Name: "of-the-holder"}}); err != nil {
		t.Error(err)
	}
	if m := <-proposals; !strings.Contains(string(m.Payload), "of-the-holder") {
		t.Errorf("proposed are %s", m.Payload)
	}
}
