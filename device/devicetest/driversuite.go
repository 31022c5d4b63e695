package devicetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device"
)

// DriverConfig sets up RunDriver. New and Instance are required. What is left out
// skips the tests that need it.
type DriverConfig struct {
	New      func() device.Driver // makes the driver of one device, as device.Config.New does
	Instance device.Instance      // a device that answers; each property of its spec is read
	// Write has the values to write, by property, in order. Leave out a property
	// whose value follows slowly: each value is read back at once.
	Write map[string][]string
	// Others are more devices that answer. They are driven beside Instance, to
	// find drivers that share what they do not lock.
	Others []device.Instance
	// Hang has the device answer nothing until release is called.
	Hang func() (release func())
	// Change changes a value at the device, as by hand, to another one at each
	// call. It is for a device.Subscriber, and is called beside its methods.
	Change func() (property, value string)
	// Timeout is the time that a method has, and then has again to return after
	// its context has ended; 0 means 10 s. Config.Timeout is the like for Run.
	Timeout time.Duration
}

func (c DriverConfig) withDefaults() (DriverConfig, error) {
	switch {
	case c.New == nil:
		return c, errors.New("devicetest: DriverConfig.New is required: it makes the driver")
	case len(c.Instance.Spec.Properties) == 0:
		return c, errors.New("devicetest: DriverConfig.Instance needs properties: nothing would be read")
	case c.Timeout < 0:
		return c, errors.New("devicetest: DriverConfig.Timeout must not be negative")
	}
	for name, values := range c.Write {
		if !c.Instance.Writable(name) || len(values) == 0 {
			return c, fmt.Errorf("devicetest: DriverConfig.Write: %q needs values, a property in the spec, and ReadWrite in the model", name)
		}
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return c, nil
}

// RunDriver tests a driver against the contract of device.Driver, and that of
// device.Subscriber if it is one. It calls the driver as device.Run does: from
// one goroutine at a time, each context with a deadline, Close once for each Open
// that succeeded. Run it with -race.
//
//	func TestDriver(t *testing.T) {
//		server := startServer(t) // speaks the protocol, as a real device would
//		devicetest.RunDriver(t, devicetest.DriverConfig{
//			New: func() device.Driver { return new(modbus) },
//			Instance: device.Instance{
//				ID:    "plant/boiler",
//				Spec:  schema.DeviceSpec{Protocol: server.protocol(), Properties: []schema.Property{{Name: "target"}, {Name: "pressure"}}},
//				Model: model,
//			},
//			Write: map[string][]string{"target": {"45", "60"}},
//			Hang:  server.hang,
//		})
//	}
//
// A property's value must have the form of its type in Instance.Model. It does not
// test what is not promised: a second Close, calls before Open, or calls of one
// driver by several goroutines.
func RunDriver(t *testing.T, cfg DriverConfig) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range driverChecks() {
		t.Run(c.name, func(t *testing.T) {
			if c.needs != nil {
				if missing := c.needs(cfg); missing != "" {
					t.Skip(missing)
				}
			}
			if err := c.check(t.Context(), cfg); err != nil {
				t.Error(err)
			}
		})
	}
}

// driverCheck is one test of the suite.
type driverCheck struct {
	name  string
	needs func(DriverConfig) (missing string) // may be nil
	check func(context.Context, DriverConfig) error
}

func driverChecks() []driverCheck {
	return []driverCheck{
		{"each property is read", nil, checkRead},
		{"written values are read back", needsWrite, checkWrite},
		{"an unknown property is an error", nil, checkUnknown},
		{"open again after close", nil, checkReopen},
		{"the instance is not changed", nil, checkInstance},
		{"calls return when their context has ended", nil, checkEnded},
		{"calls return when the device hangs", needsHang, checkHang},
		{"devices are independent", needsOthers, checkOthers},
		{"subscribe ends with its context", needsSubscriber, checkSubscribe},
		{"subscribe gives changes", needsChange, checkChange},
	}
}

func needsWrite(cfg DriverConfig) string {
	if len(cfg.Write) == 0 {
		return "no DriverConfig.Write"
	}
	return ""
}

func needsHang(cfg DriverConfig) string {
	if cfg.Hang == nil {
		return "no DriverConfig.Hang"
	}
	return ""
}

func needsOthers(cfg DriverConfig) string {
	if len(cfg.Others) == 0 {
		return "no DriverConfig.Others"
	}
	return ""
}

func needsSubscriber(cfg DriverConfig) string {
	if _, ok := cfg.New().(device.Subscriber); !ok {
		return "the driver is not a device.Subscriber"
	}
	return ""
}

func needsChange(cfg DriverConfig) string {
	if missing := needsSubscriber(cfg); missing != "" || cfg.Change != nil {
		return missing
	}
	return "no DriverConfig.Change"
}

// errStuck is the error of a call that did not return in time. The driver must not
// be called again: a method of it is still running.
var errStuck = errors.New("it did not return after its context had ended")

// errPanic is the error of a call that panicked.
var errPanic = errors.New("it panicked")

// call runs one call of a driver in a goroutine of its own, with a deadline, and
// waits for it. Its error has the call's name. A panic is an error.
func (c DriverConfig) call(ctx context.Context, name string, deadline time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	returned := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				returned <- fmt.Errorf("%w: %v", errPanic, p)
			}
		}()
		returned <- f(ctx)
	}()
	select {
	case err := <-returned:
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	case <-time.After(deadline + c.Timeout):
		return fmt.Errorf("%s: %w", name, errStuck)
	}
}

func (c DriverConfig) open(ctx context.Context, d device.Driver, deadline time.Duration) error {
	return c.call(ctx, "Open", deadline, func(ctx context.Context) error { return d.Open(ctx, c.Instance) })
}

func (c DriverConfig) read(ctx context.Context, d device.Driver, name string, deadline time.Duration) (value string, err error) {
	values := make(chan string, 1) // not a variable: a stuck call may set it later
	err = c.call(ctx, fmt.Sprintf("Read %q", name), deadline, func(ctx context.Context) error {
		value, err := d.Read(ctx, name)
		values <- value
		return err
	})
	if err != nil {
		return "", err
	}
	return <-values, nil
}

func (c DriverConfig) write(ctx context.Context, d device.Driver, name, value string, deadline time.Duration) error {
	return c.call(ctx, fmt.Sprintf("Write %q = %q", name, value), deadline, func(ctx context.Context) error { return d.Write(ctx, name, value) })
}

func (c DriverConfig) close(ctx context.Context, d device.Driver) error {
	return c.call(ctx, "Close", c.Timeout, func(context.Context) error { return d.Close() })
}

// session opens a driver, calls f and closes the driver, unless a call is stuck.
func (c DriverConfig) session(ctx context.Context, d device.Driver, f func() error) error {
	if err := c.open(ctx, d, c.Timeout); err != nil {
		return err
	}
	err := f()
	if errors.Is(err, errStuck) {
		return err
	}
	return errors.Join(err, c.close(ctx, d))
}

// readAll reads each property of the spec.
func (c DriverConfig) readAll(ctx context.Context, d device.Driver) error {
	for _, p := range c.Instance.Spec.Properties {
		value, err := c.read(ctx, d, p.Name, c.Timeout)
		if err == nil {
			err = c.checkForm(p.Name, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
