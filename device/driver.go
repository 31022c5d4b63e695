package device

import (
	"context"
	"errors"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Driver talks to one device. Run calls Config.New before each Open, so the usual
// Driver lives from one Open to its Close and starts without any state of an earlier
// connection. A New that returns the same Driver again is allowed too: Run calls Open
// only after the Close of the Open before. Run calls the methods of all Drivers of a
// device one at a time. Every context given to a Driver has a deadline (Config.Timeout).
//
// Run survives a driver that is wrong. A panic closes the device and opens it again. A method
// that ignores its deadline for another Config.Timeout is stuck: its device is offline, and is
// opened again when the method has returned. The other devices go on. Each is shown as a
// Condition of the device. devicetest.RunDriver tests a Driver.
type Driver interface {
	// Open connects to the device. When it fails, Close is not called: Open frees
	// what it has taken. The device is then opened again, after a pause.
	Open(ctx context.Context, dev Instance) error
	// Read returns the value of a property as text, in the form that the
	// property's type has: "21", "21.5", "true", base64 for bytes; before the model's
	// Transform if it has one. A property that the device does not have, which a spec may
	// name, is an error.
	Read(ctx context.Context, property string) (string, error)
	// Write sets a property. Only properties that the model declares
	// ReadWrite are written, with a value of their type within their limits; all are if
	// there is no model.
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

// BatchReader is a Driver that reads many properties in one exchange with its device. Run then
// calls ReadMany in place of Read.
type BatchReader interface {
	Driver
	// ReadMany reads the properties, which are those whose collect cycle has passed. The error
	// says that nothing could be read; what concerns one property is in its Reading. A
	// property without a Reading was not read.
	ReadMany(ctx context.Context, properties []string) (map[string]Reading, error)
}

// RawDriver is a Driver that hands over bytes as the device has them, the most significant
// first unless the model declares another order. Run decodes and encodes them; see Transform.
// It calls ReadRaw and WriteRaw in place of Read and Write.
type RawDriver interface {
	Driver
	// ReadRaw returns the bytes of a property.
	ReadRaw(ctx context.Context, property string) ([]byte, error)
	// WriteRaw sets the bytes of a property.
	WriteRaw(ctx context.Context, property string, raw []byte) error
}

// Reading is what a BatchReader has read of one property.
type Reading struct {
	Value string // as Driver.Read returns it
	Raw   []byte // in place of Value: the bytes as RawDriver.ReadRaw returns them
	Err   error  // why the property could not be read
}

// Caller is a Driver whose device has methods. A device without it has the methods of its spec
// all the same: each writes its parameters to properties and returns those that it names.
type Caller interface {
	Driver
	// Call runs a method of the device. parameters and result are JSON objects or empty. The
	// error is a *CallError if the caller is to be given a code; any other has CodeFailed.
	Call(ctx context.Context, method string, parameters schema.Options) (result schema.Options, err error)
}

// Discoverer is a Driver that can search for devices.
type Discoverer interface {
	Driver
	// Discover searches for devices of its protocol until it has found all or ctx ends, and
	// calls found for each. It is called on a Driver that was not opened, and no other method
	// is called on that one. found may be called by several goroutines at once.
	Discover(ctx context.Context, found func(Proposal)) error
}

// ErrConnection is wrapped by the error of a driver's method to say that it is the connection
// which devices share that fails, not this device: see Config.Connection.
var ErrConnection = errors.New("device: connection has failed")

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
// is in the spec, and the model declares it ReadWrite, or there is no model.
func (i *Instance) Writable(name string) bool {
	if i.Property(name) == nil {
		return false
	}
	p := i.Model.Property(name)
	return p == nil && len(i.Model.Properties) == 0 || p != nil && p.AccessMode == schema.ReadWrite
}

// ErrRefused is wrapped by the error of a Link that will never take a report
// as it is.
var ErrRefused = errors.New("device: report is refused")

// The states of a device that a mapper reports.
const (
	Online    = "online"    // it is open and answers
	Unhealthy = "unhealthy" // it answers, but a property could not be read Config.Failures times in a row
	Offline   = "offline"   // it cannot be reached
	// Disabled devices have Spec.Disabled: they are not opened. A Link that refuses the state
	// gets Unknown.
	Disabled = "disabled"
	Unknown  = "unknown" // nothing is known of it
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
