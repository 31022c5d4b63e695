package mapper_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/device/dmi/mapper"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge is edgecore's device part: engine and DMI.
type edge struct {
	edgetest.Edge
	stop func()
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
	stop := edgetest.Run(t, engine.Run, m.Run)
	<-m.Ready()
	<-engine.Ready()
	return edge{Edge: edgetest.Edge{Engine: engine}, stop: stop}
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

// TestLink runs the suite of all Links.
func TestLink(t *testing.T) {
	devicetest.RunLink(t, func(t *testing.T) (device.Link, devicetest.Edge) {
		dir := edgetest.SocketDir(t)
		e := startEdge(t, memstore.New(), filepath.Join(dir, "dmi.sock"))
		return newLink(t, dir, "suite"), e
	})
}

// TestRestarts runs a whole mapper while its edgecore goes away and comes back, with a desired
// value changed in between.
func TestRestarts(t *testing.T) {
	store, dir := memstore.New(), edgetest.SocketDir(t)
	path := filepath.Join(dir, "dmi.sock")
	dev := new(devicetest.Device)
	dev.Set("temperature", "18.5")
	dev.Set("target", "0")
	link := newLink(t, dir, "suite") // before edgecore
	edgetest.Run(t, func(ctx context.Context) error {
		return device.Run(ctx, device.Config{
			Protocol: "suite", New: func() device.Driver { return dev }, Link: link, Timeout: time.Minute, Backoff: 10 * time.Millisecond,
		})
	})
	e := startEdge(t, store, path)
	e.Put(t, "a/b", "suite")
	e.SetDesired(t, "a/b", "target", "20")
	e.WaitActual(t, "a/b", "target", "20")
	e.WaitActual(t, "a/b", "temperature", "18.5")
	e.stop()
	dev.Set("temperature", "19.5")
	e = startEdge(t, store, path)
	e.SetDesired(t, "a/b", "target", "22")
	e.WaitActual(t, "a/b", "target", "22")
	e.WaitActual(t, "a/b", "temperature", "19.5")
	if got := dev.Values()["target"]; got != "22" {
		t.Errorf("the device's target is %s, want 22", got)
	}
	if dev.Opens() != 1 {
		t.Errorf("the device was opened %d times, want once", dev.Opens())
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
