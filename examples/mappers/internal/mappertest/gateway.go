package mappertest

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// patience is how long a condition may take to become true. It is long: tests run on busy
// machines.
const patience = 2 * time.Minute

// Gateway is a twin engine and a mapper in this process.
type Gateway struct {
	t      *testing.T
	engine *twin.Engine
	wake   chan struct{}
}

// NewGateway runs the mapper of a protocol, of which cfg lacks the link, with the devices until
// the test ends.
func NewGateway(t *testing.T, cfg device.Config, devices ...device.Instance) *Gateway {
	t.Helper()
	store := memstore.New()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	link, err := inprocess.New(inprocess.Config{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Link, cfg.CollectCycle, cfg.Backoff = link, 20*time.Millisecond, 10*time.Millisecond
	g := &Gateway{t: t, engine: engine, wake: make(chan struct{}, 1)}
	unsubscribe := engine.Subscribe(func(twin.Commit) {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(t.Context()))
	var group errgroup.Group
	group.Go(func() error { return engine.Run(engineCtx) })
	group.Go(func() error {
		defer stopEngine() // after the mapper has reported its devices offline
		return device.Run(ctx, cfg)
	})
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("gateway: %v", err)
		}
		unsubscribe()
		store.Close()
	})
	<-engine.Ready()
	for _, dev := range devices {
		put, err := devicespec.Declare(dev.Spec, dev.Model)
		if err == nil {
			err = engine.Put(t.Context(), dev.ID, put)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// SetDesired sets the desired value of a property, as an app on the node does.
func (g *Gateway) SetDesired(id, property, value string) {
	g.t.Helper()
	if err := g.engine.SetDesired(g.t.Context(), id, map[string]string{property: value}); err != nil {
		g.t.Fatal(err)
	}
}

// Actual is the value that a property was last reported to have; empty if none was.
func (g *Gateway) Actual(id, property string) string {
	d, _ := g.engine.Device(id)
	if t := d.Twins[property]; t.Actual != nil {
		return t.Actual.Value
	}
	return ""
}

// WaitActual waits until a property is reported to have a value.
func (g *Gateway) WaitActual(id, property, want string) {
	g.t.Helper()
	g.Wait(func() bool { return g.Actual(id, property) == want }, func() string {
		return property + " is " + g.Actual(id, property) + ", want " + want
	})
}

// WaitState waits until the device is in a state.
func (g *Gateway) WaitState(id, want string) {
	g.t.Helper()
	state := func() string { d, _ := g.engine.Device(id); return d.State }
	g.Wait(func() bool { return state() == want }, func() string { return "state is " + state() + ", want " + want })
}

// Wait asks ok after each commit, and every 50 ms, until it holds.
func (g *Gateway) Wait(ok func() bool, otherwise func() string) {
	g.t.Helper()
	Wait(g.t, g.wake, ok, otherwise)
}

// Wait asks ok whenever wake says so, and every 50 ms, until it holds.
func Wait(t *testing.T, wake <-chan struct{}, ok func() bool, otherwise func() string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-wake:
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(otherwise())
		case <-deadline.C:
			t.Fatal(otherwise())
		}
	}
}
