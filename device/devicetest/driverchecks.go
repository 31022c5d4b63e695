package devicetest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

func checkRead(ctx context.Context, cfg DriverConfig) error {
	d := cfg.New()
	return cfg.session(ctx, d, func() error { return cfg.readAll(ctx, d) })
}

func checkWrite(ctx context.Context, cfg DriverConfig) error {
	d := cfg.New()
	return cfg.session(ctx, d, func() error { return cfg.writeAll(ctx, d) })
}

// writeAll writes the values of Write and reads each back.
func (c DriverConfig) writeAll(ctx context.Context, d device.Driver) error {
	for _, name := range slices.Sorted(maps.Keys(c.Write)) {
		for _, value := range c.Write[name] {
			if err := c.write(ctx, d, name, value, c.Timeout); err != nil {
				return err
			}
			got, err := c.read(ctx, d, name, c.Timeout)
			if err != nil {
				return err
			}
			if !c.same(name, got, value) {
				return fmt.Errorf("Read %q: got %q after %q was written", name, got, value)
			}
		}
	}
	return nil
}

// broken says that a call got no result: it is stuck or it panicked.
func broken(err error) bool { return errors.Is(err, errStuck) || errors.Is(err, errPanic) }

// unknown is the name of a property that no device has.
const unknown = "devicetest-unknown-property"

// checkUnknown reads and writes a property that the device does not have, as Run
// does when a spec names one. What Write returns then is not promised.
func checkUnknown(ctx context.Context, cfg DriverConfig) error {
	d := cfg.New()
	return cfg.session(ctx, d, func() error {
		value, err := cfg.read(ctx, d, unknown, cfg.Timeout)
		if err == nil {
			return fmt.Errorf("Read %q: got the value %q and no error", unknown, value)
		}
		if broken(err) {
			return err
		}
		err = cfg.write(ctx, d, unknown, "1", cfg.Timeout)
		if broken(err) {
			return err
		}
		return cfg.readAll(ctx, d)
	})
}

// checkReopen opens the same driver again, and then a new one for the same device.
func checkReopen(ctx context.Context, cfg DriverConfig) error {
	first := cfg.New()
	for _, d := range []device.Driver{first, first, cfg.New()} {
		if err := cfg.session(ctx, d, func() error { return cfg.readAll(ctx, d) }); err != nil {
			return err
		}
	}
	return nil
}

func checkInstance(ctx context.Context, cfg DriverConfig) error {
	before, err := json.Marshal(cfg.Instance)
	if err != nil {
		return err
	}
	if err := errors.Join(checkRead(ctx, cfg), checkWrite(ctx, cfg)); err != nil {
		return err
	}
	after, err := json.Marshal(cfg.Instance)
	if err == nil && string(before) != string(after) {
		return fmt.Errorf("the driver has changed its Instance from\n%s to\n%s", before, after)
	}
	return err
}

// checkEnded calls each method with a context that has ended. What it returns is
// free: a value at hand may still be given.
func checkEnded(ctx context.Context, cfg DriverConfig) error {
	d := cfg.New()
	err := cfg.session(ctx, d, func() error { return cfg.callEach(ctx, d, 0) })
	if err != nil {
		return err
	}
	return cfg.tryOpen(ctx, 0)
}

// callEach reads and writes, and gives the error of a call that is stuck.
func (c DriverConfig) callEach(ctx context.Context, d device.Driver, deadline time.Duration) error {
	for _, p := range c.Instance.Spec.Properties {
		if _, err := c.read(ctx, d, p.Name, deadline); broken(err) {
			return err
		}
	}
	for name, values := range c.Write {
		if err := c.write(ctx, d, name, values[0], deadline); broken(err) {
			return err
		}
	}
	return nil
}

// tryOpen opens a new driver within a deadline. If that succeeds, it closes it.
func (c DriverConfig) tryOpen(ctx context.Context, deadline time.Duration) error {
	d := c.New()
	switch err := c.open(ctx, d, deadline); {
	case err == nil:
		return c.close(ctx, d)
	case broken(err):
		return err
	}
	return nil // a driver that did not open is not closed
}

// checkHang has the device hang under an open driver, and then under Open. A driver
// must recover from both when it is opened again.
func checkHang(ctx context.Context, cfg DriverConfig) error {
	short := cfg.Timeout / 100
	d := cfg.New()
	if err := cfg.open(ctx, d, cfg.Timeout); err != nil {
		return err
	}
	release := sync.OnceFunc(cfg.Hang())
	defer release()
	if err := cfg.callEach(ctx, d, short); err != nil {
		return err
	}
	// Run does not use the error of Close, and opens the device again.
	if err := cfg.close(ctx, d); broken(err) {
		return err
	}
	if err := cfg.tryOpen(ctx, short); broken(err) {
		return err
	}
	release()
	if err := checkRead(ctx, cfg); err != nil {
		return fmt.Errorf("after the device answers again: %w", err)
	}
	return nil
}

// checkOthers drives several devices at once, each from a goroutine of its own.
func checkOthers(ctx context.Context, cfg DriverConfig) error {
	var group sync.WaitGroup
	errs := make([]error, 1+len(cfg.Others))
	for n, instance := range append([]device.Instance{cfg.Instance}, cfg.Others...) {
		own := cfg
		own.Instance = instance
		if n > 0 {
			own.Write = nil // the values are for Instance
		}
		group.Go(func() {
			d := cfg.New()
			errs[n] = own.session(ctx, d, func() error {
				for range 10 {
					if err := errors.Join(own.readAll(ctx, d), own.writeAll(ctx, d)); err != nil {
						return fmt.Errorf("%s: %w", instance.ID, err)
					}
				}
				return nil
			})
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// same reports whether two texts are one value of the property's type.
func (c DriverConfig) same(name, a, b string) bool {
	if a == b {
		return true
	}
	p := c.Instance.Model.Property(name)
	if p == nil || (p.Type != schema.TypeInt && p.Type != schema.TypeFloat && p.Type != schema.TypeDouble) {
		return false
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// checkForm wants a value in the form of its property's type.
func (c DriverConfig) checkForm(name, value string) error {
	p := c.Instance.Model.Property(name)
	if p == nil {
		return nil
	}
	var err error
	switch p.Type {
	case schema.TypeInt:
		_, err = strconv.ParseInt(value, 10, 64)
	case schema.TypeFloat, schema.TypeDouble:
		_, err = strconv.ParseFloat(value, 64)
	case schema.TypeBoolean:
		if value != "true" && value != "false" {
			err = errors.New("it is neither true nor false")
		}
	case schema.TypeBytes:
		_, err = base64.StdEncoding.DecodeString(value)
	case schema.TypeString, schema.TypeStream:
		if !utf8.ValidString(value) {
			err = errors.New("it is not UTF-8")
		}
	}
	if err != nil {
		return fmt.Errorf("Read %q: got %q for type %s: %w", name, value, p.Type, err)
	}
	return nil
}
