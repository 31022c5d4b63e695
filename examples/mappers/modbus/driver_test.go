package main

import (
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
		New:      config().New,
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
	g := mappertest.NewGateway(t, config(), dev)
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
	g := mappertest.NewGateway(t, config(), devices...)
	for n, d := range devices {
		g.WaitActual(d.ID, "energy", strconv.Itoa(100+n))
	}
	if n := proxy.Accepted(); n != 1 {
		t.Errorf("three slaves of one line made %d connections, want 1", n)
	}
}

// TestReadMany reads many properties with few requests, and has an error for those only that
// cannot be read.
func TestReadMany(t *testing.T) {
	slaves, _, dev := startBoiler(t, nil)
	var names []string
	dev.Spec.Properties, dev.Model.Properties = nil, nil
	add := func(name, register string, offset, limit int) {
		names = append(names, name)
		dev.Spec.Properties = append(dev.Spec.Properties, schema.Property{Name: name, Visitors: &schema.Visitor{
			Config: options(t, map[string]any{"register": register, "offset": offset, "limit": limit})}})
	}
	for n := range 300 {
		add("r"+strconv.Itoa(n), "HoldingRegister", n, 1)
		slaves.SetHolding(1, n, uint16(n))
	}
	add("far", "HoldingRegister", 300, 100)
	add("last", "InputRegister", 999, 1)
	add("beyond", "InputRegister", 1000, 1)
	add("bad", "Nothing", 0, 1)
	d := config().New().(*driver)
	if err := d.Open(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := slaves.Requests()
	got, err := d.ReadMany(t.Context(), append(names, "unknown"))
	if err != nil {
		t.Fatal(err)
	}
	if n := slaves.Requests() - before; n != 4+3 { // 400 registers; the refused block, and its two points
		t.Errorf("%d requests, want 7", n)
	}
	for n := range 300 {
		if r := got[names[n]]; r.Err != nil || string(r.Raw) != string([]byte{byte(n >> 8), byte(n)}) {
			t.Fatalf("%s = %v, want %d", names[n], r, n)
		}
	}
	for name, bad := range map[string]bool{"far": false, "last": false, "beyond": true, "bad": true, "unknown": true} {
		if r := got[name]; (r.Err != nil) != bad || bad == (r.Raw != nil) {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// TestTransforms has the SDK read and write what KubeEdge's visitor fields and a model's
// transform say.
func TestTransforms(t *testing.T) {
	slaves, _, dev := startBoiler(t, nil)
	dev.Spec.Properties, dev.Model.Properties = nil, nil
	add := func(name string, typ schema.Type, visitor string, transform *schema.Transform) {
		dev.Spec.Properties = append(dev.Spec.Properties, schema.Property{Name: name, CollectCycle: 20, Visitors: &schema.Visitor{Config: schema.Options(visitor)}})
		dev.Model.Properties = append(dev.Model.Properties, schema.ModelProperty{Name: name, Type: typ, AccessMode: schema.ReadWrite, Transform: transform})
	}
	add("scaled", schema.TypeFloat, `{"register":"HoldingRegister","offset":0,"limit":1,"scale":0.1}`, nil)
	add("swapped", schema.TypeInt, `{"register":"HoldingRegister","offset":10,"limit":2,"isSwap":true,"isRegisterSwap":true}`, nil)
	add("unsigned", schema.TypeInt, `{"register":"HoldingRegister","offset":20,"limit":1}`, &schema.Transform{RawType: schema.RawUint16})
	add("bits", schema.TypeInt, `{"register":"HoldingRegister","offset":30,"limit":1}`, &schema.Transform{RawType: schema.RawUint16, Mask: "0x0ff0", Shift: 4})
	slaves.SetHolding(1, 0, 215)
	slaves.SetHolding(1, 10, 0x0100, 0x0000)
	slaves.SetHolding(1, 20, 40000)
	slaves.SetHolding(1, 30, 0xa12b)
	g := mappertest.NewGateway(t, config(), dev)
	for property, want := range map[string]string{"scaled": "21.5", "swapped": "1", "unsigned": "40000", "bits": "18"} {
		g.WaitActual(boiler, property, want)
	}
	for property, test := range map[string]struct {
		value   string
		address int
		want    uint16
	}{"scaled": {"-3", 0, 0xffe2}, "swapped": {"2", 10, 0x0200}, "unsigned": {"50000", 20, 50000}, "bits": {"255", 30, 0xaffb}} {
		g.SetDesired(boiler, property, test.value)
		g.WaitActual(boiler, property, test.value)
		if got := slaves.Holding(1, test.address); got != test.want {
			t.Errorf("%s = %s: register %#x, want %#x", property, test.value, got, test.want)
		}
	}
}
