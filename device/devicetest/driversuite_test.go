package devicetest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// notifier is a Device that sends its changes.
type notifier struct {
	Device
	changes chan reading
}

func (n *notifier) Subscribe(ctx context.Context, changed func(property, value string)) error {
	for {
		select {
		case r := <-n.changes:
			changed(r.property, r.value)
		case <-ctx.Done():
			return nil
		}
	}
}

// newNotifier makes a device in memory with everything that the suite tests.
func newNotifier() (*notifier, DriverConfig) {
	n := &notifier{changes: make(chan reading, 1000)}
	n.Set("level", "0")
	n.Set("on", "false")
	count := 0
	return n, DriverConfig{
		New: func() device.Driver { return n },
		Instance: device.Instance{
			ID:   "home/tank",
			Spec: schema.DeviceSpec{Properties: []schema.Property{{Name: "level"}, {Name: "on"}}},
			Model: schema.DeviceModelSpec{Properties: []schema.ModelProperty{
				{Name: "level", Type: schema.TypeInt}, {Name: "on", Type: schema.TypeBoolean, AccessMode: schema.ReadWrite},
			}},
		},
		Write: map[string][]string{"on": {"true", "false"}},
		Hang: func() func() {
			open, read, write := n.Hang("Open"), n.Hang("Read"), n.Hang("Write")
			return func() { open(); read(); write() }
		},
		Change: func() (string, string) {
			count++
			n.changes <- reading{"level", strconv.Itoa(count)}
			return "level", strconv.Itoa(count)
		},
	}
}

func TestRunDriver(t *testing.T) {
	_, cfg := newNotifier()
	RunDriver(t, cfg)
}

// faulty is a driver with one fault.
type faulty struct {
	*notifier
	open      func(context.Context, device.Instance) error
	read      func(ctx context.Context, property string) (string, error)
	write     func(ctx context.Context, property, value string) error
	subscribe func(ctx context.Context, changed func(property, value string)) error
	close     func() error
}

func (f *faulty) Open(ctx context.Context, dev device.Instance) error { return f.open(ctx, dev) }
func (f *faulty) Read(ctx context.Context, p string) (string, error)  { return f.read(ctx, p) }
func (f *faulty) Write(ctx context.Context, p, v string) error        { return f.write(ctx, p, v) }
func (f *faulty) Close() error                                        { return f.close() }
func (f *faulty) Subscribe(ctx context.Context, changed func(string, string)) error {
	return f.subscribe(ctx, changed)
}

// driverFault is a fault of a driver, and the check of the suite that finds it.
type driverFault struct {
	check string
	want  string // part of the error
	fault func(f *faulty, forever <-chan struct{})
}

// driverFaults has a fault for each check, or more.
func driverFaults() []driverFault {
	return []driverFault{
		{"each property is read", "for type INT", func(f *faulty, _ <-chan struct{}) {
			f.read = func(context.Context, string) (string, error) { return "warm", nil }
		}},
		{"each property is read", "context canceled", func(f *faulty, _ <-chan struct{}) { // it keeps the context of Open
			var kept context.Context
			f.open = func(ctx context.Context, _ device.Instance) error { kept = ctx; return nil }
			f.read = func(context.Context, string) (string, error) { return "1", kept.Err() }
		}},
		{"written values are read back", `got "false" after "true"`, func(f *faulty, _ <-chan struct{}) {
			f.write = func(context.Context, string, string) error { return nil }
		}},
		{"an unknown property is an error", "no error", func(f *faulty, _ <-chan struct{}) {
			f.read = func(context.Context, string) (string, error) { return "", nil }
		}},
		{"an unknown property is an error", errPanic.Error(), func(f *faulty, _ <-chan struct{}) {
			f.read = func(_ context.Context, p string) (string, error) { return strings.Repeat(p, -1), nil }
		}},
		{"open again after close", "already", func(f *faulty, _ <-chan struct{}) {
			f.close = func() error { return nil }
		}},
		{"the instance is not changed", "changed its Instance", func(f *faulty, _ <-chan struct{}) {
			f.open = func(ctx context.Context, dev device.Instance) error {
				dev.Spec.Properties[0].CollectCycle++
				return f.notifier.Open(ctx, dev)
			}
		}},
		{"calls return when their context has ended", errStuck.Error(), func(f *faulty, forever <-chan struct{}) {
			f.open = func(ctx context.Context, dev device.Instance) error {
				if ctx.Err() != nil {
					<-forever
				}
				return f.notifier.Open(ctx, dev)
			}
		}},
		{"calls return when the device hangs", errStuck.Error(), func(f *faulty, _ <-chan struct{}) {
			f.read = func(ctx context.Context, p string) (string, error) {
				return f.notifier.Read(context.WithoutCancel(ctx), p)
			}
		}},
		{"calls return when the device hangs", "answers again", func(f *faulty, _ <-chan struct{}) {
			failed := false
			f.read = func(ctx context.Context, p string) (string, error) {
				v, err := f.notifier.Read(ctx, p)
				if failed = failed || err != nil; failed {
					return "", errors.New("connection is broken")
				}
				return v, nil
			}
		}},
		{"subscribe ends with its context", "context canceled", func(f *faulty, _ <-chan struct{}) {
			f.subscribe = func(ctx context.Context, _ func(string, string)) error { <-ctx.Done(); return ctx.Err() }
		}},
		{"subscribe ends with its context", errStuck.Error(), func(f *faulty, forever <-chan struct{}) {
			f.subscribe = func(context.Context, func(string, string)) error { <-forever; return nil }
		}},
		{"subscribe gives changes", "none of these changes", func(f *faulty, _ <-chan struct{}) {
			f.subscribe = func(ctx context.Context, _ func(string, string)) error { <-ctx.Done(); return nil }
		}},
	}
}

// TestRunDriverFindsFaults checks that the suite finds each of these faults.
func TestRunDriverFindsFaults(t *testing.T) {
	for _, tt := range driverFaults() {
		t.Run(tt.check+": "+tt.want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				forever := make(chan struct{})
				defer close(forever)
				n, cfg := newNotifier()
				f := &faulty{n, n.Open, n.Read, n.Write, n.Subscribe, n.Close}
				tt.fault(f, forever)
				cfg.New = func() device.Driver { return f }
				err := checkNamed(t, cfg, tt.check)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got error %v, want one with %q", err, tt.want)
				}
			})
		})
	}
}

// checkNamed runs one check of the suite.
func checkNamed(t *testing.T, cfg DriverConfig, name string) error {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range driverChecks() {
		if c.name == name {
			return c.check(t.Context(), cfg)
		}
	}
	t.Fatalf("the suite has no check %q", name)
	return nil
}

// TestOthersRunAtOnce checks that two devices are open at the same time.
func TestOthersRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := newNotifier()
		cfg.Others = []device.Instance{{ID: "home/other", Spec: cfg.Instance.Spec, Model: cfg.Instance.Model}}
		var both sync.WaitGroup
		both.Add(2)
		cfg.New = func() device.Driver {
			n, _ := newNotifier()
			f := &faulty{n, n.Open, n.Read, n.Write, n.Subscribe, n.Close}
			f.open = func(ctx context.Context, dev device.Instance) error {
				both.Done()
				both.Wait()
				return n.Open(ctx, dev)
			}
			return f
		}
		if err := checkNamed(t, cfg, "devices are independent"); err != nil {
			t.Error(err)
		}
	})
}

func TestDriverConfig(t *testing.T) {
	for name, change := range map[string]func(*DriverConfig){
		"no New":              func(c *DriverConfig) { c.New = nil },
		"no properties":       func(c *DriverConfig) { c.Instance.Spec.Properties = nil },
		"negative timeout":    func(c *DriverConfig) { c.Timeout = -1 },
		"write of a ReadOnly": func(c *DriverConfig) { c.Write = map[string][]string{"level": {"1"}} },
		"write of nothing":    func(c *DriverConfig) { c.Write = map[string][]string{"on": nil} },
	} {
		_, cfg := newNotifier()
		change(&cfg)
		if _, err := cfg.withDefaults(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
