package device_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// override is a driver with methods in place of those of a device in memory.
type override struct {
	*devicetest.Device
	open  func(context.Context, device.Instance) error
	read  func(ctx context.Context, property string) (string, error)
	write func(ctx context.Context, property, value string) error
	close func() error
}

func (o *override) Open(ctx context.Context, dev device.Instance) error {
	if o.open != nil {
		return o.open(ctx, dev)
	}
	return o.Device.Open(ctx, dev)
}

func (o *override) Read(ctx context.Context, property string) (string, error) {
	if o.read != nil {
		return o.read(ctx, property)
	}
	return o.Device.Read(ctx, property)
}

func (o *override) Write(ctx context.Context, property, value string) error {
	if o.write != nil {
		return o.write(ctx, property, value)
	}
	return o.Device.Write(ctx, property, value)
}

func (o *override) Close() error {
	if o.close != nil {
		return o.close()
	}
	return o.Device.Close()
}

// driveConfig runs a mapper in the bubble until stop is called or the test ends. It returns what
// Run did.
func driveConfig(t *testing.T, cfg device.Config) (m *device.Mapper, stop func() error) {
	t.Helper()
	cfg.Protocol = "test"
	m, err := device.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	stopped := false
	stop = func() error {
		cancel()
		stopped = true
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			if err := stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})
	return m, stop
}

func pick(drivers map[string]device.Driver) func() device.Driver {
	return func() device.Driver { return &delegate{drivers: drivers} }
}

// delegate becomes the driver of the device that it opens.
type delegate struct {
	device.Driver
	drivers map[string]device.Driver
}

func (d *delegate) Open(ctx context.Context, dev device.Instance) error {
	d.Driver = d.drivers[dev.ID]
	return d.Driver.Open(ctx, dev)
}

func reasonOf(link *devicetest.Link, id, typ string) string {
	return link.ConditionOf(id, typ).Reason
}

// TestDriverFaults has one driver of a mapper be wrong in each way. Its device has a condition
// that says so, and is online again when the driver is right. The other device goes on.
func TestDriverFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(o *override, gone *atomic.Bool) // while gone is not set
		typ   string
		want  string // reason
		state string
	}{
		{"panic in Read", func(o *override, gone *atomic.Bool) {
			o.read = func(ctx context.Context, p string) (string, error) {
				if !gone.Load() {
					panic("index out of range")
				}
				return o.Device.Read(ctx, p)
			}
		}, device.ConditionConnected, "DriverPanicked", device.Offline},
		{"panic in Open", func(o *override, gone *atomic.Bool) {
			o.open = func(ctx context.Context, dev device.Instance) error {
				if !gone.Load() {
					panic("nil map")
				}
				return o.Device.Open(ctx, dev)
			}
		}, device.ConditionConnected, "DriverPanicked", device.Offline},
		{"Read blocks", func(o *override, gone *atomic.Bool) {
			o.read = func(ctx context.Context, p string) (string, error) {
				for !gone.Load() {
					time.Sleep(time.Second)
				}
				return o.Device.Read(ctx, p)
			}
		}, device.ConditionConnected, "DriverStuck", device.Offline},
		{"Open blocks and then succeeds", func(o *override, gone *atomic.Bool) {
			o.open = func(ctx context.Context, dev device.Instance) error {
				for !gone.Load() {
					time.Sleep(time.Second)
				}
				return o.Device.Open(ctx, dev)
			}
		}, device.ConditionConnected, "DriverStuck", device.Offline},
		{"Open fails", func(o *override, gone *atomic.Bool) {
			o.open = func(ctx context.Context, dev device.Instance) error {
				if !gone.Load() {
					return errors.New("no route to host")
				}
				return o.Device.Open(ctx, dev)
			}
		}, device.ConditionConnected, "OpenFailed", device.Offline},
		{"value of another type", func(o *override, gone *atomic.Bool) {
			o.read = func(ctx context.Context, p string) (string, error) {
				if p == "temperature" && !gone.Load() {
					return "warm", nil
				}
				return o.Device.Read(ctx, p)
			}
		}, device.ConditionValuesValid, "InvalidValue", device.Unhealthy},
		{"not a number", func(o *override, gone *atomic.Bool) {
			o.read = func(ctx context.Context, p string) (string, error) {
				if p == "temperature" && !gone.Load() {
					return "NaN", nil
				}
				return o.Device.Read(ctx, p)
			}
		}, device.ConditionValuesValid, "InvalidValue", device.Unhealthy},
		{"one property cannot be read", func(o *override, gone *atomic.Bool) {
			o.read = func(ctx context.Context, p string) (string, error) {
				if p == "temperature" && !gone.Load() {
					return "", errors.New("illegal address")
				}
				return o.Device.Read(ctx, p)
			}
		}, device.ConditionValuesValid, "ReadFailed", device.Unhealthy},
		{"nothing can be read", func(o *override, gone *atomic.Bool) {
			o.read = func(ctx context.Context, p string) (string, error) {
				if !gone.Load() {
					return "", errors.New("illegal address")
				}
				return o.Device.Read(ctx, p)
			}
		}, device.ConditionConnected, "NothingReadable", device.Offline},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bad, fine := &override{Device: simulated()}, &override{Device: simulated()}
				var gone atomic.Bool
				tt.fault(bad, &gone)
				list := []device.Instance{instance("a/bad", nil), instance("a/fine", nil)}
				for i := range list {
					list[i].Spec.Properties[1].CollectCycle = 1000
				}
				link := devicetest.NewLink(list...)
				m, _ := driveConfig(t, device.Config{Link: link, New: pick(map[string]device.Driver{"a/bad": bad, "a/fine": fine})})
				time.Sleep(45 * time.Second)
				if got := reasonOf(link, "a/bad", tt.typ); got != tt.want {
					t.Errorf("reason is %q, want %q: %+v", got, tt.want, m.Devices())
				}
				if got := link.StateOf("a/bad"); got != tt.state {
					t.Errorf("state is %q, want %q", got, tt.state)
				}
				fine.Set("temperature", "25")
				time.Sleep(2 * time.Second)
				if got := link.Values("a/fine")["temperature"] + " " + link.StateOf("a/fine"); got != "25 online" {
					t.Errorf("the other device is %q", got)
				}
				gone.Store(true)
				time.Sleep(3 * time.Minute)
				if got := link.StateOf("a/bad"); got != device.Online {
					t.Errorf("at the end the state is %q", got)
				}
				for _, typ := range []string{device.ConditionConnected, device.ConditionValuesValid, device.ConditionEnabled} {
					if c := link.ConditionOf("a/bad", typ); !c.Status || c.Message != "" {
						t.Errorf("at the end: %+v", c)
					}
				}
			})
		})
	}
}

// TestStuckAtTheEnd has Run end although a driver does not, and say which.
func TestStuckAtTheEnd(t *testing.T) {
	for name, removed := range map[string]bool{"declared": false, "removed": true} {
		t.Run(name, func(t *testing.T) { testStuckAtTheEnd(t, removed) })
	}
}

func testStuckAtTheEnd(t *testing.T, removed bool) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		bad := &override{Device: simulated()}
		bad.read = func(context.Context, string) (string, error) { <-release; return "1", nil }
		link := devicetest.NewLink(instance("a/bad", nil))
		m, stop := driveConfig(t, device.Config{Link: link, New: func() device.Driver { return bad }})
		time.Sleep(time.Minute)
		if got := m.Stats().Stuck; got != 1 {
			t.Errorf("%d calls are stuck, want 1", got)
		}
		if removed {
			link.Set()
			time.Sleep(time.Second)
		}
		var stuck *device.StuckError
		if err := stop(); !errors.As(err, &stuck) || fmt.Sprint(stuck.Devices) != "[a/bad]" {
			t.Errorf("Run: %v", err)
		}
		close(release)
		synctest.Wait()
		if got := m.Stats().Stuck; got != 0 {
			t.Errorf("%d calls are stuck, want 0", got)
		}
	})
}

// TestOneDriverWhenStuck has a device come and go while its driver is stuck: it is never open
// twice, and opens when the driver has returned.
func TestOneDriverWhenStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open, most atomic.Int32
		hang := make(chan struct{})
		link := devicetest.NewLink(instance("a/b", nil))
		driveConfig(t, device.Config{Link: link, New: func() device.Driver {
			return &slow{simulated(), func() { <-hang }, &open, &most}
		}})
		for _, list := range [][]device.Instance{{}, {instance("a/b", nil)}, {}, {instance("a/b", desiredTarget("3"))}} {
			time.Sleep(30 * time.Second)
			link.Set(list...)
		}
		time.Sleep(time.Minute)
		if open.Load() != 1 || most.Load() != 1 {
			t.Errorf("%d drivers are open and %d were at once, want one each", open.Load(), most.Load())
		}
		if got := reasonOf(link, "a/b", device.ConditionConnected); got != "DriverStuck" {
			t.Errorf("reason is %q", got)
		}
		close(hang)
		time.Sleep(2 * time.Minute)
		if open.Load() != 1 || most.Load() != 1 || link.StateOf("a/b") != device.Online {
			t.Errorf("at the end %d drivers are open and %d were at once; state %s", open.Load(), most.Load(), link.StateOf("a/b"))
		}
	})
}

// TestNotTaken has a device that ignores writes: the desired value is written again with
// back-off, and the condition shows it. Then a device that loses its value.
func TestNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := &override{Device: simulated()}
		var follows atomic.Bool
		var writes atomic.Int32
		dev.write = func(ctx context.Context, p, v string) error {
			writes.Add(1)
			if !follows.Load() {
				return nil
			}
			return dev.Device.Write(ctx, p, v)
		}
		link := devicetest.NewLink(instance("a/b", map[string]string{"target": "42"}))
		m, _ := driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
		time.Sleep(20 * time.Second)
		if n := writes.Load(); n != 5 || m.Stats().NotTaken != 5 {
			t.Errorf("%d writes and %d not taken in 20 s, want 5: at 0, 1, 3, 7 and 15 s", n, m.Stats().NotTaken)
		}
		if c := link.ConditionOf("a/b", device.ConditionDesiredApplied); c.Status || c.Reason != "NotTaken" {
			t.Errorf("%+v", c)
		}
		follows.Store(true)
		time.Sleep(time.Minute)
		if got := link.Values("a/b")["target"]; got != "42" {
			t.Errorf("target is %s", got)
		}
		if c := link.ConditionOf("a/b", device.ConditionDesiredApplied); !c.Status {
			t.Errorf("%+v", c)
		}
		dev.Set("target", "20") // as after a restart of the device
		before := writes.Load()
		time.Sleep(3 * time.Minute)
		if got := link.Values("a/b")["target"]; got != "42" || writes.Load() != before+1 {
			t.Errorf("target is %s after %d writes", got, writes.Load()-before)
		}
	})
}

// TestSlowDevice has a device that follows slowly: it gets there, and the condition ends.
func TestSlowDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := &override{Device: simulated()}
		dev.write = func(_ context.Context, p, v string) error {
			time.AfterFunc(5*time.Second, func() { dev.Set(p, v) })
			return nil
		}
		link := devicetest.NewLink(instance("a/b", map[string]string{"target": "42"}))
		driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
		time.Sleep(30 * time.Second)
		if c := link.ConditionOf("a/b", device.ConditionDesiredApplied); !c.Status || link.Values("a/b")["target"] != "42" {
			t.Errorf("%+v, %v", c, link.Values("a/b"))
		}
	})
}

// TestNotWritten has desired values that never reach the driver: not in the model, ReadOnly, of
// another type, out of range.
func TestNotWritten(t *testing.T) {
	for _, tt := range []struct{ property, value, reason string }{
		{"unknown", "1", "NotInModel"},
		{"temperature", "1", "Applied"}, // the twin says so: DesiredValid
		{"target", "warm", "InvalidValue"},
		{"target", "NaN", "InvalidValue"},
		{"target", "81", "InvalidValue"},
		{"target", "9", "InvalidValue"},
	} {
		t.Run(tt.property+"="+tt.value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := simulated()
				dev.Set("unknown", "0")
				list := instance("a/b", map[string]string{tt.property: tt.value})
				list.Spec.Properties = append(list.Spec.Properties, schema.Property{Name: "unknown"})
				list.Model.Properties[1].Minimum, list.Model.Properties[1].Maximum = "10", "80"
				link := devicetest.NewLink(list)
				driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
				time.Sleep(5 * time.Minute)
				if got := dev.Writes(); len(got) != 0 {
					t.Errorf("writes are %v", got)
				}
				if got := reasonOf(link, "a/b", device.ConditionDesiredApplied); got != tt.reason {
					t.Errorf("reason is %q, want %q", got, tt.reason)
				}
				list.Desired = map[string]string{"target": "45"}
				link.Set(list)
				time.Sleep(2 * time.Minute)
				if got := fmt.Sprint(dev.Writes()); got != "[target=45]" || reasonOf(link, "a/b", device.ConditionDesiredApplied) != "Applied" {
					t.Errorf("after a valid value: writes %s, %+v", got, link.ConditionOf("a/b", device.ConditionDesiredApplied))
				}
			})
		})
	}
}

// TestNewestDesired has a device be offline while its desired value changes three times: only
// the newest is written.
func TestNewestDesired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := simulated()
		dev.Fail("Open", errors.New("unplugged"))
		link := devicetest.NewLink(instance("a/b", map[string]string{"target": "21"}))
		driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
		for _, v := range []string{"22", "23", "24"} {
			time.Sleep(10 * time.Second)
			link.Set(instance("a/b", map[string]string{"target": v}))
		}
		time.Sleep(10 * time.Second)
		dev.Fail("Open", nil)
		time.Sleep(3 * time.Minute)
		if got := fmt.Sprint(dev.Writes()); got != "[target=24]" {
			t.Errorf("writes are %s", got)
		}
	})
}

// TestDisabled has a device out of service: nothing is called, and its state says so.
func TestDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := simulated()
		out := instance("a/b", map[string]string{"target": "21"})
		out.Spec.Disabled = true
		link := devicetest.NewLink(instance("a/b", nil))
		m, _ := driveConfig(t, device.Config{Link: link, New: func() device.Driver { return dev }})
		synctest.Wait()
		link.Set(out)
		time.Sleep(time.Minute)
		if dev.Opens() != 1 || len(dev.Writes()) != 0 || link.StateOf("a/b") != device.Disabled || reasonOf(link, "a/b", device.ConditionEnabled) != "Disabled" {
			t.Errorf("%d opens, writes %v, %+v", dev.Opens(), dev.Writes(), m.Devices())
		}
		out.Spec.Disabled = false
		link.Set(out)
		time.Sleep(time.Minute)
		if fmt.Sprint(dev.Writes()) != "[target=21]" || link.StateOf("a/b") != device.Online || reasonOf(link, "a/b", device.ConditionEnabled) != "Enabled" {
			t.Errorf("in service again: writes %v, %+v", dev.Writes(), m.Devices())
		}
	})
}
