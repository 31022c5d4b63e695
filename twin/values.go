package twin

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Values are values of one device by property name.
type Values struct {
	Device string // namespace/name
	Values map[string]string
}

// Property is one property of a device as an application sees it.
type Property struct {
	Device  string // namespace/name
	Name    string
	Twin    Twin
	Quality Quality // of Twin.Actual; "" if it has none
}

// Report stores the values that devices have, on behalf of whoever reads them. The values of
// one device are stored whole or refused whole; the error joins those of all devices that
// refused, each an *Error with the device's name before it. Report returns when everything is
// durable: values of many devices in one call cost little more than those of one.
func (e *Engine) Report(ctx context.Context, values ...Values) error {
	return e.updateAll(ctx, values, func(value string) *Patch { return &Patch{Actual: &value} })
}

// Desire sets desired (expected) values of devices, on behalf of a client on the node. An empty
// value withdraws one. It is otherwise as Report.
func (e *Engine) Desire(ctx context.Context, values ...Values) error {
	return e.updateAll(ctx, values, func(value string) *Patch { return &Patch{Expected: &value} })
}

func (e *Engine) updateAll(ctx context.Context, values []Values, patch func(string) *Patch) error {
	calls := make([]Call, len(values))
	for i, v := range values {
		patches := make(map[string]*Patch, len(v.Values))
		for name, value := range v.Values {
			patches[name] = patch(value)
		}
		calls[i] = Call{Device: v.Device, Request: Update{Twins: patches}}
	}
	_, err := e.DoAll(ctx, calls)
	return err
}

// DoAll carries out requests as Do does, in their order, and waits until all are durable. It
// returns the Commit of each. The error joins those of the refused requests.
func (e *Engine) DoAll(ctx context.Context, calls []Call) ([]Commit, error) {
	done := make(chan answer, len(calls))
	for i, c := range calls {
		if err := e.submit(ctx, call{Call: c, index: i, done: done}); err != nil {
			return nil, err
		}
	}
	commits := make([]Commit, len(calls))
	for range calls {
		a, err := e.wait(ctx, done)
		if errors.Is(err, ErrClosed) {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("twin: %d requests: %w", len(calls), err)
		}
		commits[a.index] = a.commit
	}
	var refused []error
	for _, c := range commits {
		if err := c.Err(); err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", c.Device, err))
		}
	}
	return commits, errors.Join(refused...)
}

// Get returns properties of a device as last committed: those named, in that order, or all by
// name. A device or property that is not known gives an *Error with CodeUnknown.
func (e *Engine) Get(device string, properties ...string) ([]Property, error) {
	d, ok := e.Device(device)
	if !ok {
		return nil, refusal(CodeUnknown, "device is not known on this node")
	}
	if len(properties) == 0 {
		return d.Properties(e.now()), nil
	}
	list := make([]Property, 0, len(properties))
	for _, name := range properties {
		t, ok := d.Twins[name]
		if !ok || t.Deleted {
			return nil, refusal(CodeUnknown, "device %s has no property %.140q", device, name)
		}
		list = append(list, d.property(name, t, e.now()))
	}
	return list, nil
}

// Properties returns the properties of a device that are not deleted, by name, with the
// qualities that they have at the given time.
func (d Device) Properties(now time.Time) []Property {
	list := make([]Property, 0, len(d.Twins))
	for _, name := range sortedKeys(d.Twins) {
		if t := d.Twins[name]; !t.Deleted {
			list = append(list, d.property(name, t, now))
		}
	}
	return list
}

func (d Device) property(name string, t Twin, now time.Time) Property {
	return Property{Device: d.ID, Name: name, Twin: t, Quality: d.Quality(name, now)}
}
