package devicetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device"
)

// Edge is the far end of a Link under test: it declares devices, keeps their twins
// and changes desired values. The device put has at least the properties
// temperature (FLOAT, ReadOnly) and target (FLOAT, ReadWrite).
type Edge interface {
	// Put adds a device of the protocol, or brings it up to date.
	Put(t *testing.T, id, protocol string)
	// Remove removes a device.
	Remove(t *testing.T, id string)
	// SetDesired sets the desired value of a property.
	SetDesired(t *testing.T, id, property, value string)
	// Actual returns the actual value of a property, "" for none.
	Actual(t *testing.T, id, property string) string
	// State returns the device's state, "" for none.
	State(t *testing.T, id string) string
}

// RunLink runs the suite of a device.Link; make is called for each test and
// gives a Link whose far end runs until the test ends.
func RunLink(t *testing.T, open func(t *testing.T) (device.Link, Edge)) {
	tests := []struct {
		name string
		test func(t *testing.T, l device.Link, e Edge, lists <-chan []device.Instance)
	}{
		{"devices come, change and go", testDevices},
		{"desired values arrive", testDesired},
		{"reports are durable when Report returns", testReports},
		{"invalid reports are refused", testRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, e := open(t)
			lists := channel[[]device.Instance]()
			ctx, cancel := context.WithCancel(t.Context())
			ended := channel[error]()
			go func() { ended <- l.Watch(ctx, func(list []device.Instance) { lists <- list }) }()
			tt.test(t, l, e, lists)
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("Watch: %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("Watch did not end with its context")
			}
		})
	}
}

// channel makes a channel with room for whatever one test sends; make is the
// name of a parameter above.
func channel[T any]() chan T { return make(chan T, 1000) }

// until waits for a list that satisfies ok.
func until(t *testing.T, lists <-chan []device.Instance, what string, ok func(map[string]device.Instance) bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case list := <-lists:
			byID := map[string]device.Instance{}
			for _, d := range list {
				byID[d.ID] = d
			}
			if ok(byID) {
				return
			}
		case <-deadline:
			t.Fatalf("no list in time with %s", what)
		}
	}
}

func testDevices(t *testing.T, _ device.Link, e Edge, lists <-chan []device.Instance) {
	e.Put(t, "dev/node", "suite")
	until(t, lists, "the device", func(l map[string]device.Instance) bool {
		d, ok := l["dev/node"]
		return ok && d.Spec.Protocol.Name == "suite" && d.Property("target") != nil && d.Writable("target") && !d.Writable("temperature")
	})
	e.Put(t, "dev/node", "other")
	until(t, lists, "the other protocol", func(l map[string]device.Instance) bool {
		d, ok := l["dev/node"] // a Link may give the devices of one protocol only
		return !ok || d.Spec.Protocol.Name == "other"
	})
	e.Put(t, "dev/node", "suite")
	until(t, lists, "the device again", func(l map[string]device.Instance) bool { return l["dev/node"].Spec.Protocol.Name == "suite" })
	e.Remove(t, "dev/node")
	until(t, lists, "no device", func(l map[string]device.Instance) bool { return len(l) == 0 })
}

func testDesired(t *testing.T, _ device.Link, e Edge, lists <-chan []device.Instance) {
	e.Put(t, "a/b", "suite")
	for _, value := range []string{"20", "21", "22.5"} {
		e.SetDesired(t, "a/b", "target", value)
		until(t, lists, "the desired value "+value, func(l map[string]device.Instance) bool { return l["a/b"].Desired["target"] == value })
	}
}

func testReports(t *testing.T, l device.Link, e Edge, lists <-chan []device.Instance) {
	e.Put(t, "a/b", "suite")
	until(t, lists, "the device", func(l map[string]device.Instance) bool { return len(l) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Report(ctx, "a/b", map[string]string{"temperature": "19.5", "target": "20"}); err != nil {
		t.Fatal(err)
	}
	if err := l.State(ctx, "a/b", device.Online); err != nil {
		t.Fatal(err)
	}
	if got := e.Actual(t, "a/b", "temperature") + " " + e.Actual(t, "a/b", "target") + " " + e.State(t, "a/b"); got != "19.5 20 online" {
		t.Errorf("the edge has %q", got)
	}
}

func testRefused(t *testing.T, l device.Link, e Edge, lists <-chan []device.Instance) {
	e.Put(t, "a/b", "suite")
	until(t, lists, "the device", func(l map[string]device.Instance) bool { return len(l) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Report(ctx, "a/b", map[string]string{"temperature": "warm", "target": "20"}); !errors.Is(err, device.ErrRefused) {
		t.Errorf("a value of the wrong type: got %v, want ErrRefused", err)
	}
	if got := e.Actual(t, "a/b", "target"); got != "" {
		t.Errorf("part of a refused report was taken: target is %q", got)
	}
	if err := l.Report(ctx, "a/unknown", map[string]string{"temperature": "1"}); !errors.Is(err, device.ErrRefused) {
		t.Errorf("an unknown device: got %v, want ErrRefused", err)
	}
	if err := l.State(ctx, "a/b", "sleepy"); !errors.Is(err, device.ErrRefused) {
		t.Errorf("an unknown state: got %v, want ErrRefused", err)
	}
}
