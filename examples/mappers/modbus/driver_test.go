package main

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/mappertest"
	"github.com/edgekit/edgekit/examples/mappers/modbus/internal/simulator"
)

const boiler = "plant/boiler-1"

// startBoiler starts a simulator behind a proxy, and returns the Device of device.yaml at it.
func startBoiler(t *testing.T, change func(*connection)) (*simulator.Slaves, *mappertest.Proxy, device.Instance) {
	t.Helper()
	slaves := simulator.New(1000)
	address, stop, err := slaves.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	slaves.SetInput(1, 0, 0x41ac, 0)
	proxy := mappertest.NewProxy(t, address)
	dev := mappertest.Instance(t, "model.yaml", "device.yaml")
	if dev.ID != boiler {
		t.Fatalf("device.yaml has the device %s", dev.ID)
	}
	c := connection{IP: "127.0.0.1", Port: proxy.Port(), SlaveID: 1, Timeout: 30_000} // 30 s on a busy machine is no fault
	if change != nil {
		change(&c)
	}
	dev.Spec.Protocol.Config = options(t, c)
	for n := range dev.Spec.Properties {
		dev.Spec.Properties[n].CollectCycle = 20
		dev.Spec.Properties[n].Desired = nil
	}
	return slaves, proxy, dev
}

func options(t testing.TB, v any) schema.Options {
	t.Helper()
	o, err := schema.NewOptions(v)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestDriver holds the driver to the contract of device.Driver.
func TestDriver(t *testing.T) {
	_, proxy, dev := startBoiler(t, func(c *connection) { c.Timeout = 2000 })
	other := dev
	other.ID = "plant/boiler-2"
	other.Spec = *dev.Spec.DeepCopy()
	other.Spec.Protocol.Config = options(t, connection{IP: "127.0.0.1", Port: proxy.Port(), SlaveID: 2, Timeout: 2000})
	devicetest.RunDriver(t, devicetest.DriverConfig{
		New:      newDrivers(),
		Instance: dev,
		Write:    map[string][]string{"target": {"45", "60"}, "pump": {"true", "false"}},
		Others:   []device.Instance{other},
		Hang:     proxy.Hold,
	})
}

// TestRecovers has the device drop, hang, lie and restart under a gateway. The mapper comes
// back from each by itself.
func TestRecovers(t *testing.T) {
	slaves, proxy, dev := startBoiler(t, func(c *connection) { c.Timeout = 200 })
	g := mappertest.NewGateway(t, newDrivers(), dev)
	g.WaitActual(boiler, "temperature", "21.5")
	next := 0
	follows := func(t *testing.T) { // both ways
		t.Helper()
		next++
		g.SetDesired(boiler, "target", strconv.Itoa(next))
		g.Wait(func() bool { return slaves.Holding(1, 0) == uint16(next) }, func() string { return "the register does not follow" })
		slaves.SetHolding(1, 2, 0, uint16(next))
		g.WaitActual(boiler, "energy", strconv.Itoa(next))
		g.WaitState(boiler, device.Online)
	}
	follows(t)
	for name, disturb := range map[string]func() (end func()){
		"drops its connections": func() func() { proxy.Drop(); return func() {} },
		"has no power":          func() func() { proxy.Refuse(true); return func() { proxy.Refuse(false) } },
		"hangs":                 proxy.Hold,
		"lies": func() func() {
			proxy.Damage(func(b []byte) { b[len(b)-1] ^= 0xff; b[0] ^= 0x55 }) // another transaction
			return func() { proxy.Damage(nil) }
		},
		"sends rubbish": func() func() {
			proxy.Damage(func(b []byte) {
				for n := range b {
					b[n] = 0xff
				}
			})
			return func() { proxy.Damage(nil) }
		},
		"restarts with factory values": func() func() {
			proxy.Refuse(true)
			slaves.SetHolding(1, 0, 0, 0, 0, 0)
			return func() { proxy.Refuse(false) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := disturb()
			if name != "drops its connections" {
				g.WaitState(boiler, device.Offline)
			}
			end()
			follows(t)
		})
	}
}

// TestOneLine drives three slaves over one connection.
func TestOneLine(t *testing.T) {
	slaves, proxy, dev := startBoiler(t, nil)
	var devices []device.Instance
	for n := range 3 {
		d := dev
		d.ID = "plant/boiler-" + strconv.Itoa(n+1)
		d.Spec = *dev.Spec.DeepCopy()
		d.Spec.Protocol.Config = options(t, connection{IP: "127.0.0.1", Port: proxy.Port(), SlaveID: n + 1, Timeout: 30_000})
		slaves.SetHolding(uint8(n+1), 2, 0, uint16(100+n))
		devices = append(devices, d)
	}
	g := mappertest.NewGateway(t, newDrivers(), devices...)
	for n, d := range devices {
		g.WaitActual(d.ID, "energy", strconv.Itoa(100+n))
	}
	if n := proxy.Accepted(); n != 1 {
		t.Errorf("three slaves of one line made %d connections, want 1", n)
	}
}

// TestReadAll reads many properties with few requests, and has an error for those only that
// cannot be read.
func TestReadAll(t *testing.T) {
	slaves, _, dev := startBoiler(t, nil)
	var names []string
	dev.Spec.Properties = nil
	for n := range 300 {
		names = append(names, "r"+strconv.Itoa(n))
		dev.Spec.Properties = append(dev.Spec.Properties, schema.Property{Name: names[n], Visitors: &schema.Visitor{
			Config: options(t, map[string]any{"register": "HoldingRegister", "offset": n})}})
		slaves.SetHolding(1, n, uint16(n))
	}
	far := schema.Property{Name: "far", Visitors: &schema.Visitor{Config: options(t, map[string]any{"register": "HoldingRegister", "offset": 300, "limit": 100})}}
	beyond := schema.Property{Name: "beyond", Visitors: &schema.Visitor{Config: options(t, map[string]any{"register": "InputRegister", "offset": 1000})}}
	bad := schema.Property{Name: "bad", Visitors: &schema.Visitor{Config: options(t, map[string]any{"register": "Nothing"})}}
	dev.Spec.Properties = append(dev.Spec.Properties, far, beyond, bad)
	dev.Model.Properties = append(dev.Model.Properties, schema.ModelProperty{Name: "far", Type: schema.TypeBytes})
	d := newDrivers()().(*driver)
	if err := d.Open(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := slaves.Requests()
	values, errs := d.ReadAll(t.Context(), append(names, "far", "beyond", "bad", "unknown"))
	if got := slaves.Requests() - before; got != 5 { // 300+100 registers, and 1 beyond
		t.Errorf("%d requests, want 5", got)
	}
	for n, name := range names {
		if values[name] != strconv.Itoa(n) {
			t.Fatalf("%s = %q, want %d (%v)", name, values[name], n, errs[name])
		}
	}
	if failed := slices.Sorted(maps.Keys(errs)); !slices.Equal(failed, []string{"bad", "beyond", "unknown"}) {
		t.Errorf("errors of %v: %v", failed, errs)
	}
}

// TestRefusedBlock has one property that the slave does not have next to others that it has.
func TestRefusedBlock(t *testing.T) {
	slaves, _, dev := startBoiler(t, nil)
	dev.Spec.Properties = nil
	for n, name := range []string{"last", "beyond"} {
		dev.Spec.Properties = append(dev.Spec.Properties, schema.Property{Name: name, Visitors: &schema.Visitor{
			Config: options(t, map[string]any{"register": "HoldingRegister", "offset": 999 + n})}})
	}
	slaves.SetHolding(1, 999, 7)
	d := newDrivers()().(*driver)
	if err := d.Open(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	values, errs := d.ReadAll(t.Context(), []string{"last", "beyond"})
	if values["last"] != "7" || errs["last"] != nil || errs["beyond"] == nil {
		t.Errorf("values %v, errors %v", values, errs)
	}
}
