// Package edgetest has what the tests of every device.Link share: a twin engine as its far end,
// tasks that end with the test, and a folder for sockets.
package edgetest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// Edge is a twin engine, which runs elsewhere, as the far end of a Link under test.
type Edge struct{ Engine *twin.Engine }

var _ devicetest.Edge = Edge{}

// Put declares a device with the properties temperature, which is collected every 50 ms, and
// target, which can be written.
func (e Edge) Put(t *testing.T, id, protocol string) {
	t.Helper()
	put, err := devicespec.Declare(schema.DeviceSpec{
		ModelRef: schema.ModelRef{Name: "boiler-model"},
		Protocol: schema.Protocol{Name: protocol}, Properties: []schema.Property{{Name: "temperature", CollectCycle: 50}, {Name: "target"}},
	}, schema.DeviceModelSpec{Properties: []schema.ModelProperty{
		{Name: "temperature", Type: schema.TypeFloat, AccessMode: schema.ReadOnly},
		{Name: "target", Type: schema.TypeFloat, AccessMode: schema.ReadWrite, DesiredBy: schema.DesiredByBoth},
	}})
	if err := errors.Join(err, e.Engine.Put(t.Context(), id, put)); err != nil {
		t.Fatal(err)
	}
}

// Remove removes a device.
func (e Edge) Remove(t *testing.T, id string) {
	t.Helper()
	if err := e.Engine.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// SetDesired sets the desired value of a property.
func (e Edge) SetDesired(t *testing.T, id, property, value string) {
	t.Helper()
	if err := e.Engine.SetDesired(t.Context(), id, map[string]string{property: value}); err != nil {
		t.Fatal(err)
	}
}

// Actual is the value that a property was last reported to have; empty if none was.
func (e Edge) Actual(_ *testing.T, id, property string) string {
	d, _ := e.Engine.Device(id)
	if v := d.Twins[property].Actual; v != nil {
		return v.Value
	}
	return ""
}

// State is the state of a device.
func (e Edge) State(_ *testing.T, id string) string {
	d, _ := e.Engine.Device(id)
	return d.State
}

// WaitActual waits until a property is reported to have a value.
func (e Edge) WaitActual(t *testing.T, id, property, value string) {
	t.Helper()
	e.Wait(t, func() bool { return e.Actual(t, id, property) == value }, func() string {
		return property + " of " + id + " is " + e.Actual(t, id, property) + ", want " + value
	})
}

// Wait asks ok after each commit until it holds. If it does not, otherwise says why the test fails.
func (e Edge) Wait(t *testing.T, ok func() bool, otherwise func() string) {
	t.Helper()
	committed := make(chan struct{}, 1)
	defer e.Engine.Subscribe(func(twin.Commit) {
		select {
		case committed <- struct{}{}:
		default:
		}
	})()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-committed:
		case <-deadline:
			t.Fatal(otherwise())
		}
	}
}

// Run runs tasks until stop is called or the test ends, and waits for them. An error of one
// fails the test.
func Run(t *testing.T, tasks ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, len(tasks))
	for _, run := range tasks {
		go func() { ended <- run(ctx) }()
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range tasks {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// SocketDir makes a folder for sockets: the path of t.TempDir may be too long for one.
func SocketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dmi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
