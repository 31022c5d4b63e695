package device_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// instance is a device of protocol "test" with a temperature read each second
// and a target.
func instance(id string, desired map[string]string) device.Instance {
	return device.Instance{
		ID: id,
		Spec: schema.DeviceSpec{
			Protocol:   schema.Protocol{Name: "test"},
			Properties: []schema.Property{{Name: "temperature", CollectCycle: 1000}, {Name: "target", CollectCycle: 60_000}},
		},
		Model: schema.DeviceModelSpec{Properties: []schema.ModelProperty{
			{Name: "temperature", Type: schema.TypeFloat, AccessMode: schema.ReadOnly},
			{Name: "target", Type: schema.TypeFloat, AccessMode: schema.ReadWrite},
		}},
		Desired: desired,
	}
}

func desiredTarget(target string) map[string]string {
	return map[string]string{"target": target, "temperature": "99"} // the second cannot be written
}

// drive runs a mapper in the bubble until it ends; drivers are made by next.
func drive(t *testing.T, link *devicetest.Link, next func() device.Driver) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx, device.Config{Protocol: "test", New: next, Link: link}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func simulated() *devicetest.Device {
	d := new(devicetest.Device)
	d.Set("temperature", "20")
	d.Set("target", "0")
	return d
}

// once is a driver that may be opened once.
type once struct {
	device.Driver
	log *[]string
}

func (o *once) Open(ctx context.Context, dev device.Instance) error {
	*o.log = append(*o.log, "open")
	return o.Driver.Open(ctx, dev)
}

func (o *once) Close() error {
	*o.log = append(*o.log, "close")
	return o.Driver.Close()
}

// TestNewForEachOpen: a device stops answering. Each time that it is opened it gets a new
// driver, which is made after the one before was closed.
func TestNewForEachOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		dev := simulated()
		drive(t, devicetest.NewLink(instance("a/b", nil)), func() device.Driver {
			log = append(log, "new")
			return &once{dev, &log}
		})
		synctest.Wait()
		dev.Fail("Read", errors.New("unplugged"))
		time.Sleep(10 * time.Second)
		dev.Fail("Read", nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := strings.Join(log, " "); !strings.HasPrefix(got, "new open close new open") || strings.Contains(got, "open new") || strings.Contains(got, "open open") {
			t.Errorf("calls are %s, want one new before each open and after each close", got)
		}
	})
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, dev := devicetest.NewLink(instance("a/b", desiredTarget("21"))), simulated()
		drive(t, link, func() device.Driver { return dev })
		synctest.Wait()
		if got := fmt.Sprintf("%v %v %v", dev.Writes(), link.Values("a/b"), link.StateOf("a/b")); got != "[target=21] map[target:21 temperature:20] online" {
			t.Errorf("at first: %s", got)
		}
		dev.Set("temperature", "20.5")
		time.Sleep(1100 * time.Millisecond)
		if got := link.Values("a/b")["temperature"]; got != "20.5" {
			t.Errorf("after a cycle: %s", got)
		}
		other := instance("a/other", nil)
		other.Spec.Protocol.Name = "another"
		link.Set(instance("a/b", desiredTarget("22")), other)
		synctest.Wait()
		if got := fmt.Sprint(dev.Writes(), dev.Opens()); got != "[target=21 target=22] 1" {
			t.Errorf("after a new desired value: %s", got)
		}

		// A changed spec opens the device again, which has its desired value already.
		changed := instance("a/b", desiredTarget("22"))
		changed.Spec.Protocol.Config = schema.Options(`{"port":1}`)
		link.Set(changed)
		synctest.Wait()
		if got := fmt.Sprint(dev.Writes()); got != "[target=21 target=22]" {
			t.Errorf("after a new spec: %s", got)
		}
	})
}

func TestNumbersAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, dev := devicetest.NewLink(instance("a/b", desiredTarget("21"))), simulated()
		dev.Set("target", "21.0")
		drive(t, link, func() device.Driver { return dev })
		synctest.Wait()
		if got := fmt.Sprintf("%v %v", dev.Writes(), link.Values("a/b")["target"]); got != "[] 21" {
			t.Errorf("got %s, want no write and the desired value's own text", got)
		}
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, dev := devicetest.NewLink(instance("a/b", desiredTarget("21"))), simulated()
		dev.Fail("Open", errors.New("no answer"))
		drive(t, link, func() device.Driver { return dev })
		synctest.Wait()
		if got := link.StateOf("a/b"); got != device.Offline {
			t.Errorf("state is %q", got)
		}
		dev.Fail("Open", nil)
		dev.Fail("Write", errors.New("busy"))
		time.Sleep(10 * time.Second)
		if got := link.StateOf("a/b"); got != device.Online {
			t.Errorf("state is %q", got)
		}
		dev.Fail("Write", nil)
		time.Sleep(2 * time.Minute)
		if got := fmt.Sprint(dev.Writes()); got != "[target=21]" {
			t.Errorf("writes are %s", got)
		}
		// Nothing can be read: the device is closed and opened again.
		dev.Fail("Read", errors.New("cable"))
		time.Sleep(10 * time.Second)
		if got := link.StateOf("a/b"); got != device.Offline {
			t.Errorf("unreadable: state is %q", got)
		}
		dev.Fail("Read", nil)
		time.Sleep(2 * time.Minute)
		if got := link.StateOf("a/b"); got != device.Online {
			t.Errorf("readable again: state is %q", got)
		}
	})
}

func TestReportsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, dev := devicetest.NewLink(instance("a/b", nil)), simulated()
		link.Fail(errors.New("broker is away"))
		drive(t, link, func() device.Driver { return dev })
		time.Sleep(5 * time.Second)
		dev.Set("temperature", "30")
		time.Sleep(2 * time.Second)
		link.Fail(nil)
		time.Sleep(10 * time.Second)
		if got := fmt.Sprintf("%v %v", link.Values("a/b"), link.StateOf("a/b")); got != "map[target:0 temperature:30] online" {
			t.Errorf("got %s", got)
		}
	})
}

// TestStuck: one device hangs in Read; the other goes on.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, fine := simulated(), simulated()
		defer stuck.Hang("Read")()
		devices := map[string]*devicetest.Device{"a/stuck": stuck, "a/fine": fine}
		link := devicetest.NewLink(instance("a/stuck", nil), instance("a/fine", nil))
		drive(t, link, func() device.Driver { return &chosen{devices: devices} })
		time.Sleep(time.Second)
		fine.Set("temperature", "25")
		time.Sleep(1100 * time.Millisecond)
		if got := link.Values("a/fine")["temperature"]; got != "25" {
			t.Errorf("the other device has %s", got)
		}
	})
}

// chosen is a driver that becomes the device with the instance's ID.
type chosen struct {
	*devicetest.Device
	devices map[string]*devicetest.Device
}

func (c *chosen) Open(ctx context.Context, dev device.Instance) error {
	c.Device = c.devices[dev.ID]
	return c.Device.Open(ctx, dev)
}

// pushing is a driver whose device sends changes.
type pushing struct {
	*devicetest.Device
	values chan string
}

func (p *pushing) Subscribe(ctx context.Context, changed func(property, value string)) error {
	for {
		select {
		case v := <-p.values:
			changed("temperature", v)
		case <-ctx.Done():
			return nil
		}
	}
}

func TestSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pushing{Device: simulated(), values: make(chan string)}
		link := devicetest.NewLink(instance("a/b", nil))
		drive(t, link, func() device.Driver { return p })
		synctest.Wait()
		p.values <- "31"
		synctest.Wait()
		if got := link.Values("a/b")["temperature"]; got != "31" {
			t.Errorf("got %s", got)
		}
	})
}

func TestRefusedValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := simulated()
		dev.Set("temperature", "warm")
		link := &picky{Link: devicetest.NewLink(instance("a/b", nil))}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- device.Run(ctx, device.Config{Protocol: "test", New: func() device.Driver { return dev }, Link: link})
		}()
		synctest.Wait()
		if got := fmt.Sprint(link.Values("a/b")); got != "map[target:0]" {
			t.Errorf("got %s: one bad value must not keep the others back", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// picky is a Link that refuses reports with a value that is not a number.
type picky struct{ *devicetest.Link }

func (p *picky) Report(ctx context.Context, id string, values map[string]string) error {
	for _, v := range values {
		if v == "warm" {
			return fmt.Errorf("%w: not a number", device.ErrRefused)
		}
	}
	return p.Link.Report(ctx, id, values)
}

func TestConfigErrors(t *testing.T) {
	link := devicetest.NewLink()
	made := func() device.Driver { return nil }
	for _, cfg := range []device.Config{
		{New: made, Link: link}, {Protocol: "x", Link: link}, {Protocol: "x", New: made},
		{Protocol: "x", New: made, Link: link, Timeout: -1},
	} {
		if err := device.Run(t.Context(), cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
