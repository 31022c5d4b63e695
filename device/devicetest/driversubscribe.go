package devicetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/edgekit/edgekit/device"
)

// reading is a value that a Subscriber passed to changed.
type reading struct{ property, value string }

// checkSubscribe reads and writes beside Subscribe and ends it.
func checkSubscribe(ctx context.Context, cfg DriverConfig) error {
	d := cfg.New()
	return cfg.session(ctx, d, func() error {
		return cfg.subscribe(ctx, d, func(<-chan reading) error {
			return errors.Join(cfg.readAll(ctx, d), cfg.writeAll(ctx, d))
		})
	})
}

// checkChange changes a value at the device until Subscribe gives one of the new values:
// nothing says when a subscription has begun.
func checkChange(ctx context.Context, cfg DriverConfig) error {
	d := cfg.New()
	return cfg.session(ctx, d, func() error {
		return cfg.subscribe(ctx, d, func(given <-chan reading) error { return cfg.awaitChange(given) })
	})
}

// awaitChange makes changes until one of them is given.
func (c DriverConfig) awaitChange(given <-chan reading) error {
	made := make(map[string][]string)
	deadline := time.After(2 * c.Timeout)
	for {
		property, value := c.Change()
		made[property] = append(made[property], value)
		for retry := time.After(c.Timeout / 50); retry != nil; {
			select {
			case r := <-given:
				if err := c.checkForm(r.property, r.value); err != nil {
					return fmt.Errorf("Subscribe: %w", err)
				}
				if slices.ContainsFunc(made[r.property], func(v string) bool { return c.same(r.property, r.value, v) }) {
					return nil
				}
			case <-retry:
				retry = nil
			case <-deadline:
				return fmt.Errorf("Subscribe: none of these changes was given: %v", made)
			}
		}
	}
}

// subscribe calls f while Subscribe runs, then ends Subscribe and waits for it.
func (c DriverConfig) subscribe(ctx context.Context, d device.Driver, f func(given <-chan reading) error) error {
	s, ok := d.(device.Subscriber)
	if !ok {
		return errors.New("the driver is not a device.Subscriber")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	given, ended := make(chan reading, 16), make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				ended <- fmt.Errorf("%w: %v", errPanic, p)
			}
		}()
		ended <- s.Subscribe(ctx, func(property, value string) {
			select {
			case given <- reading{property, value}:
			default: // f does not need each value
			}
		})
	}()
	err := f(given)
	select {
	case early := <-ended:
		return errors.Join(err, errors.New("Subscribe: it returned before its context ended"), early)
	default:
	}
	cancel()
	select {
	case end := <-ended:
		if end != nil {
			err = errors.Join(err, fmt.Errorf("Subscribe: want nil when its context ends, got %w", end))
		}
	case <-time.After(c.Timeout):
		return errors.Join(err, fmt.Errorf("Subscribe: %w", errStuck))
	}
	return err
}
