package devicetest

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/edgekit/edgekit/device"
)

// Device is a device in memory, and a device.Driver of itself. Its values
// survive Close. All methods may be called by several goroutines at once; the
// zero value is a device without values that works.
type Device struct {
	mu     sync.Mutex
	open   bool
	opens  int
	values map[string]string
	writes []string
	fail   map[string]error
	hang   map[string]chan struct{}
}

var _ device.Driver = (*Device)(nil)

// Set changes a value as if by hand.
func (d *Device) Set(property, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.values == nil {
		d.values = make(map[string]string)
	}
	d.values[property] = value
}

// Values returns a copy of all values.
func (d *Device) Values() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.values)
}

// Writes returns all successful writes so far as "property=value".
func (d *Device) Writes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.writes...)
}

// Opens is how often the device was opened.
func (d *Device) Opens() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opens
}

// Fail has a method ("Open", "Read" or "Write") return err from now on; nil
// lets it work again.
func (d *Device) Fail(method string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		d.fail = make(map[string]error)
	}
	d.fail[method] = err
}

// Hang has a method wait until its context ends or the func is called.
func (d *Device) Hang(method string) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hang == nil {
		d.hang = make(map[string]chan struct{})
	}
	gate := make(chan struct{})
	d.hang[method] = gate
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.hang, method)
		close(gate)
	})
}

// enter does what Fail and Hang ask for.
func (d *Device) enter(ctx context.Context, method string) error {
	d.mu.Lock()
	gate, err := d.hang[method], d.fail[method]
	d.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// Open opens the device, which must be closed.
func (d *Device) Open(ctx context.Context, _ device.Instance) error {
	if err := d.enter(ctx, "Open"); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return fmt.Errorf("devicetest: device is open already")
	}
	d.open = true
	d.opens++
	return nil
}

// Read returns the value that was last set or written.
func (d *Device) Read(ctx context.Context, property string) (string, error) {
	if err := d.enter(ctx, "Read"); err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	value, ok := d.values[property]
	if !ok {
		return "", fmt.Errorf("devicetest: no property %q", property)
	}
	return value, nil
}

// Write sets a value.
func (d *Device) Write(ctx context.Context, property, value string) error {
	if err := d.enter(ctx, "Write"); err != nil {
		return err
	}
	d.Set(property, value)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes = append(d.writes, property+"="+value)
	return nil
}

// Close closes the device.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = false
	return nil
}
