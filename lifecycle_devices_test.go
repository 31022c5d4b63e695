package edgekit_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/pipeline/child"
	"github.com/edgekit/edgekit/bus/pipeline/host"
	"github.com/edgekit/edgekit/bus/rules"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicesync"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// runner is what all parts of bus and twin have in common.
type runner interface {
	Run(ctx context.Context) error
}

// noReports is a devicesync.Reporter that takes nothing.
type noReports struct{}

func (noReports) Update(context.Context, meta.Object) error { return errors.New("no outbox") }

func (noReports) Delete(context.Context, meta.Object) error { return errors.New("no outbox") }

// running gives a twin engine and a bus that run until the test ends.
func running(t *testing.T) (*twin.Engine, *bus.Bus) {
	t.Helper()
	engine, err1 := twin.New(twin.Config{Store: memstore.New()})
	messages, err2 := bus.New(bus.Config{Internal: bustest.New()})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends after the parts of the test have
	ended := make(chan error, 2)
	for _, r := range []runner{engine, messages} {
		go func() { ended <- r.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
	})
	<-engine.Ready()
	<-messages.Ready()
	return engine, messages
}

// TestLifecycleOfDevices holds the parts of bus and twin to one lifecycle: New
// starts nothing and does no I/O, a second Run returns ErrStarted, and Run returns
// nil when its context ends.
func TestLifecycleOfDevices(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0") // by another program
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	engine, messages := running(t)
	sockets, err := os.MkdirTemp("", "dmi") // the path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	for name, test := range map[string]struct {
		open    func() (runner, error)
		started error
	}{
		"bus.Bus": {func() (runner, error) { return bus.New(bus.Config{Internal: bustest.New()}) }, bus.ErrStarted},
		"bus/broker.Broker": {func() (runner, error) {
			return broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
		}, bus.ErrStarted},
		"bus/access.Access": {func() (runner, error) { return access.Open(access.Config{}) }, bus.ErrStarted},
		"bus/client.Client": {func() (runner, error) {
			return client.New(client.Config{URL: "tcp://" + taken.Addr().String()})
		}, bus.ErrStarted},
		"bus/bustest.Transport": {func() (runner, error) { return bustest.New(), nil }, bus.ErrStarted},
		"device/dmi.Manager": {func() (runner, error) {
			return dmi.New(dmi.Config{Engine: engine, Store: memstore.New(), Socket: filepath.Join(sockets, "dmi.sock")})
		}, dmi.ErrStarted},
		"bus/pipeline/host.Host": {func() (runner, error) {
			return host.New(host.Config{Store: memstore.New(), Reporter: noReports{}, Node: "edge-7", Folder: filepath.Join(sockets, "pipelines"), Program: "/nonexistent"})
		}, bus.ErrStarted},
		"bus/pipeline/child.Child": {func() (runner, error) {
			return child.New(child.Config{Program: "/nonexistent"})
		}, child.ErrStarted},
		"bus/rules.Rules": {func() (runner, error) {
			return rules.New(rules.Config{Store: memstore.New(), Bus: messages, Node: "edge-7"})
		}, bus.ErrStarted},
		"twin.Engine": {func() (runner, error) { return twin.New(twin.Config{Store: memstore.New()}) }, twin.ErrStarted},
		"twin/mqtt.Bridge": {func() (runner, error) {
			return mqtt.New(mqtt.Config{Engine: engine, Bus: messages, Node: "edge-7"})
		}, twin.ErrStarted},
		"device.Mapper": {func() (runner, error) {
			return device.New(device.Config{Protocol: "x", Link: devicetest.NewLink(), New: func() device.Driver { return new(devicetest.Device) }})
		}, device.ErrStarted},
		"twin/devicesync.Syncer": {func() (runner, error) {
			return devicesync.New(devicesync.Config{Engine: engine, Store: memstore.New(), Reporter: noReports{}})
		}, twin.ErrStarted},
	} {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			r, err := test.open()
			if err != nil {
				t.Fatal(err)
			}
			if n := runtime.NumGoroutine(); n > before {
				t.Errorf("New has started %d goroutines", n-before)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			results := make(chan error, 2)
			for range 2 { // whichever is second is refused
				go func() { results <- r.Run(ctx) }()
			}
			if err := <-results; !errors.Is(err, test.started) {
				t.Errorf("the second Run returns %v, want %v", err, test.started)
			}
			cancel()
			if err := <-results; err != nil {
				t.Errorf("the cancelled Run returns %v, want nil", err)
			}
			if err := r.Run(context.Background()); !errors.Is(err, test.started) {
				t.Errorf("Run after the end returns %v, want %v", err, test.started)
			}
			hubtest.RunEnds(t, 20*time.Millisecond, func() (func(context.Context) error, error) {
				r, err := test.open()
				return r.Run, err
			})
		})
	}
	_, err = broker.New(broker.Config{Address: "tcp://" + taken.Addr().String()})
	if err != nil {
		t.Errorf("broker.New opens its address: %v", err)
	}
}
