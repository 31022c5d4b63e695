package mapper_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/device/dmi/mapper"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder makes a folder for sockets: the path of t.TempDir may be too long for one.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dmi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// edge is edgecore's device part: engine and DMI.
type edge struct {
	engine *twin.Engine
	stop   func()
}

func startEdge(t *testing.T, store meta.Store, path string) edge {
	t.Helper()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	m, err := dmi.New(dmi.Config{Engine: engine, Store: store, Socket: path, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, engine.Run, m.Run)
	<-m.Ready()
	<-engine.Ready()
	return edge{engine: engine, stop: stop}
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

func newLink(t *testing.T, dir, protocol string) *mapper.Link {
	t.Helper()
	link, err := mapper.New(mapper.Config{
		Name: "boilers", Protocol: protocol, Socket: filepath.Join(dir, "boilers.sock"), Edgecore: filepath.Join(dir, "dmi.sock"), Backoff: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func (e edge) Put(t *testing.T, id, protocol string) {
	put, err := devicespec.Declare(schema.DeviceSpec{
		ModelRef: schema.ModelRef{Name: "boiler-model"},
		Protocol: schema.Protocol{Name: protocol}, Properties: []schema.Property{{Name: "temperature", CollectCycle: 50}, {Name: "target"}},
	}, schema.DeviceModelSpec{Properties: []schema.ModelProperty{
		{Name: "temperature", Type: schema.TypeFloat, AccessMode: schema.ReadOnly},
		{Name: "target", Type: schema.TypeFloat, AccessMode: schema.ReadWrite, DesiredBy: schema.DesiredByBoth},
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

// TestLink runs the suite of all Links.
func TestLink(t *testing.T) {
	devicetest.RunLink(t, func(t *testing.T) (device.Link, devicetest.Edge) {
		dir := folder(t)
		e := startEdge(t, memstore.New(), filepath.Join(dir, "dmi.sock"))
		return newLink(t, dir, "suite"), e
	})
}

// TestRestarts runs a whole mapper while its edgecore goes away and comes back, with a desired
// value changed in between.
func TestRestarts(t *testing.T) {
	store, dir := memstore.New(), folder(t)
	path := filepath.Join(dir, "dmi.sock")
	dev := new(devicetest.Device)
	dev.Set("temperature", "18.5")
	dev.Set("target", "0")
	link := newLink(t, dir, "suite") // before edgecore
	start(t, func(ctx context.Context) error {
		return device.Run(ctx, device.Config{
			Protocol: "suite", New: func() device.Driver { return dev }, Link: link, Timeout: time.Minute, Backoff: 10 * time.Millisecond,
		})
	})
	e := startEdge(t, store, path)
	e.Put(t, "a/b", "suite")
	e.SetDesired(t, "a/b", "target", "20")
	e.wait(t, "target", "20")
	e.wait(t, "temperature", "18.5")
	e.stop()
	dev.Set("temperature", "19.5")
	e = startEdge(t, store, path)
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

// wait waits for an actual value of device a/b.
func (e edge) wait(t *testing.T, property, value string) {
	t.Helper()
	committed := make(chan struct{}, 1)
	defer e.engine.Subscribe(func(twin.Commit) {
		select {
		case committed <- struct{}{}:
		default:
		}
	})()
	deadline := time.After(2 * time.Minute)
	for e.Actual(t, "a/b", property) != value {
		select {
		case <-committed:
		case <-deadline:
			t.Fatalf("%s is %q, want %q", property, e.Actual(t, "a/b", property), value)
		}
	}
}

func TestConfig(t *testing.T) {
	good := mapper.Config{Name: "m", Protocol: "p", Socket: "/run/m.sock"}
	if _, err := mapper.New(good); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*mapper.Config){
		"Config.Name":     func(c *mapper.Config) { c.Name = "" },
		"Config.Protocol": func(c *mapper.Config) { c.Protocol = "" },
		"Config.Socket":   func(c *mapper.Config) { c.Socket = "m.sock" },
		"Config.Edgecore": func(c *mapper.Config) { c.Edgecore = "tcp://127.0.0.1:1" },
		"Config.Backoff":  func(c *mapper.Config) { c.Backoff = -1 },
		"Config.Group":    func(c *mapper.Config) { c.Group = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := mapper.New(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
