package device

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Driver talks to one device. Run calls Config.New before each Open, so the usual
// Driver lives from one Open to its Close and starts without any state of an earlier
// connection. A New that returns the same Driver again is allowed too: Run calls Open
// only after the Close of the Open before. Run calls the methods of all Drivers of a
// device from one goroutine at a time. Every context given to a Driver has a deadline
// (Config.Timeout); a method that ignores it delays its own device and the end of Run,
// nothing else. devicetest.RunDriver tests a Driver.
type Driver interface {
	// Open connects to the device. When it fails, Close is not called: Open frees
	// what it has taken. The device is then opened again, after a pause.
	Open(ctx context.Context, dev Instance) error
	// Read returns the value of a property as text, in the form that the
	// property's type has: "21", "21.5", "true", base64 for bytes. A property
	// that the device does not have, which a spec may name, is an error.
	Read(ctx context.Context, property string) (string, error)
	// Write sets a property. Only properties that the model declares
	// ReadWrite, or does not have, are written.
	Write(ctx context.Context, property, value string) error
	// Close frees what Open took. It is called once for each Open that
	// succeeded.
	Close() error
}

// Subscriber is a Driver whose device sends changes by itself.
type Subscriber interface {
	Driver
	// Subscribe calls changed for each new value until ctx ends, and then
	// returns nil. It runs beside the other methods, in a goroutine of its
	// own, from each successful Open on. When it returns an error the device
	// is closed and opened again. changed does not block for long.
	Subscribe(ctx context.Context, changed func(property, value string)) error
}

// Instance is a device as its driver sees it.
type Instance struct {
	ID      string                 // namespace/name
	Spec    schema.DeviceSpec      // with the model's defaults, without desired values
	Model   schema.DeviceModelSpec // empty if it is not known
	Desired map[string]string      // the desired values, by property
}

// Property returns the property of the spec with that name, or nil.
func (i *Instance) Property(name string) *schema.Property {
	for n := range i.Spec.Properties {
		if i.Spec.Properties[n].Name == name {
			return &i.Spec.Properties[n]
		}
	}
	return nil
}

// Writable reports whether desired values of a property are written: the property
// is in the spec, and the model declares it ReadWrite or does not have it.
func (i *Instance) Writable(name string) bool {
	if i.Property(name) == nil {
		return false
	}
	p := i.Model.Property(name)
	return p == nil || p.AccessMode == schema.ReadWrite
}

// same reports whether two texts are the same value of the property's type:
// "20" and "20.0" are for a number.
func (i *Instance) same(name, a, b string) bool {
	if a == b {
		return true
	}
	p := i.Model.Property(name)
	if p == nil || (p.Type != schema.TypeFloat && p.Type != schema.TypeDouble && p.Type != schema.TypeInt) {
		return false
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y && !math.IsNaN(x)
}

// ErrRefused is wrapped by the error of a Link that will never take a report
// as it is.
var ErrRefused = errors.New("device: report is refused")

// The states of a device that a mapper reports.
const (
	Online  = "online"  // it is open and answers
	Offline = "offline" // it cannot be reached
)

// Run reports a device that is online at least once every Heartbeat, by its values or its
// state. A Link lets the other end take a device for unknown of which it hears nothing for
// Within: a mapper that was killed leaves no device online.
const (
	Heartbeat = 15 * time.Second
	Within    = 3 * Heartbeat
)

// Link is where a mapper gets its devices from and where their values go.
// Package devicetest has a fake and the suite that every Link passes. All
// methods may be called by several goroutines at once; Watch is called once.
type Link interface {
	// Watch calls changed with the full list of the node's devices and their desired
	// values as soon as it is known and after each change, until ctx ends,
	// and then returns nil. It calls changed from one goroutine and does not
	// alter a list that it has given. Intermediate lists may be left out. A
	// lost connection is not an error but a reason to wait.
	Watch(ctx context.Context, changed func([]Instance)) error
	// Report hands over actual values of a device by property, all or none,
	// and returns when they are durable at the other end. An error that wraps
	// ErrRefused is final for these values; after any other the report may be
	// repeated, also when it had arrived. Reports work while Watch runs.
	Report(ctx context.Context, device string, values map[string]string) error
	// State reports a device's state, with the same promises. After Online the device is
	// unknown when nothing is reported of it for Within.
	State(ctx context.Context, device, state string) error
}
