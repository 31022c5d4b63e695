package devicetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device"
)

// FaultConfig sets up RunFaults. New, Device and Instance are required.
type FaultConfig struct {
	New func() device.Driver // makes the driver of one device
	// Device is the TCP address, host:port, of a device that answers, real or simulated.
	Device string
	// Instance returns the device with a protocol configuration that leads to address, which
	// is that of a Proxy before the device.
	Instance func(address string) device.Instance
	// Timeout is that of device.Config: how long a call of the driver may take; 0 means 2 s.
	// Choose more for a device that is slow.
	Timeout time.Duration
}

// faultTimeout is how long a mapper has to notice a fault, or to recover.
const faultTimeout = 2 * time.Minute

// RunFaults runs a driver in a mapper while its device lies, hangs, drops connections and
// restarts. Each time the driver must come back with values as soon as the device is right
// again; it must never panic, nor ignore its deadlines. Run it with -race.
//
//	func TestFaults(t *testing.T) {
//		devicetest.RunFaults(t, devicetest.FaultConfig{
//			New:      func() device.Driver { return new(driver) },
//			Device:   simulate(t),
//			Instance: instance,
//		})
//	}
func RunFaults(t *testing.T, cfg FaultConfig) {
	if cfg.New == nil || cfg.Device == "" || cfg.Instance == nil {
		t.Fatal("devicetest: FaultConfig.New, Device and Instance are required")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	for _, f := range driverOutages() {
		t.Run(f.name, func(t *testing.T) {
			if err := f.run(t.Context(), cfg); err != nil {
				t.Error(err)
			}
		})
	}
}

// outage is something that happens to a device for a time.
type outage struct {
	name    string
	fault   Fault
	notices bool // the mapper must notice: the device does not stay online
}

func driverOutages() []outage {
	return []outage{
		{"the device drops connections", Drop, false},
		{"the device hangs", Hang, true},
		{"the device lies", Lie, false},
		{"the device restarts", Refuse, true},
	}
}

// run runs a mapper through one outage.
func (o outage) run(ctx context.Context, cfg FaultConfig) (err error) {
	proxy, err := NewProxy(cfg.Device)
	if err != nil {
		return err
	}
	defer proxy.Close()
	dev := cfg.Instance(proxy.Address())
	if len(dev.Spec.Properties) == 0 {
		return errors.New("devicetest: FaultConfig.Instance needs properties: nothing would be read")
	}
	dev.Spec.Protocol.Name = "devicetest"
	link := NewLink(dev)
	m, err := device.New(device.Config{
		Protocol: "devicetest", New: cfg.New, Link: link,
		Timeout: cfg.Timeout, Backoff: 50 * time.Millisecond, CollectCycle: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(running) }()
	err = o.check(ctx, m, link, proxy, dev)
	stop()
	return errors.Join(err, <-ended)
}

// check has the outage begin and end.
func (o outage) check(ctx context.Context, m *device.Mapper, link *Link, proxy *Proxy, dev device.Instance) error {
	if err := await(ctx, link, func() bool { return answers(link, dev) }); err != nil {
		return fmt.Errorf("the driver reads nothing before the outage: %+v: %w", m.Devices(), err)
	}
	before := proxy.Answers()
	proxy.Set(o.fault)
	noticed := func() bool { return link.StateOf(dev.ID) != device.Online }
	if !o.notices { // the driver may hide it from the mapper
		noticed = func() bool { return link.StateOf(dev.ID) != device.Online || proxy.Answers() > before+10 }
	}
	if err := poll(ctx, noticed); err != nil {
		return fmt.Errorf("the driver does not notice: it reads values that the device has not sent: %+v: %w", m.Devices(), err)
	}
	proxy.Set(Pass)
	reports := link.Reports()
	if err := await(ctx, link, func() bool { return answers(link, dev) && link.Reports() > reports }); err != nil {
		return fmt.Errorf("the driver does not come back after the outage: %+v: %w", m.Devices(), err)
	}
	s := m.Stats()
	if s.Panics > 0 || s.Stuck > 0 {
		return fmt.Errorf("the driver panicked %d times, and %d calls ignore their deadline: %+v", s.Panics, s.Stuck, m.Devices())
	}
	return nil
}

// answers reports whether the device is online and all its properties were reported.
func answers(link *Link, dev device.Instance) bool {
	values := link.Values(dev.ID)
	for _, p := range dev.Spec.Properties {
		if _, ok := values[p.Name]; !ok {
			return false
		}
	}
	return link.StateOf(dev.ID) == device.Online
}

// await waits for a condition that reports change.
func await(ctx context.Context, link *Link, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	return link.Wait(ctx, ok)
}

// poll waits for a condition that no report may announce.
func poll(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
