package inprocess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// Config sets up a Link. Engine is required.
type Config struct {
	Engine *twin.Engine // has the twins; runs elsewhere
	// Adopt says under which ID and with which model a device that a mapper has found is
	// declared, and whether it is. It must not block. nil declares none: see Link.Proposals.
	Adopt  func(device.Proposal) (id string, model schema.DeviceModelSpec, ok bool)
	Logger *slog.Logger // nil discards
}

// Link is a device.Link on a twin engine in the same program. All methods may be called
// by several goroutines at once.
type Link struct {
	engine *twin.Engine
	log    *slog.Logger
	adopt  func(device.Proposal) (string, schema.DeviceModelSpec, bool)
	extras extras
}

var _ device.Link = (*Link)(nil)

// New checks cfg and makes a Link.
func New(cfg Config) (*Link, error) {
	if cfg.Engine == nil {
		return nil, errors.New("device/inprocess: Config.Engine is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Link{engine: cfg.Engine, log: cfg.Logger, adopt: cfg.Adopt}, nil
}

// Watch returns the engine's devices, once it is ready, and again after each
// commit that changes a desired value or the set of devices.
func (l *Link) Watch(ctx context.Context, changed func([]device.Instance)) error {
	wake := make(chan struct{}, 1)
	stop := l.engine.Subscribe(func(c twin.Commit) {
		if !devicespec.Changes(c) {
			return
		}
		select {
		case wake <- struct{}{}:
		default: // one pending wake is enough
		}
	})
	defer stop()
	select {
	case <-l.engine.Ready():
	case <-ctx.Done():
		return nil
	}
	for {
		changed(l.list())
		select {
		case <-wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *Link) list() []device.Instance {
	devices := l.engine.Devices()
	list := make([]device.Instance, 0, len(devices))
	for _, d := range devices {
		dev, err := devicespec.Instance(d)
		if err != nil {
			l.log.Warn("device is left out", "err", err)
			continue
		}
		list = append(list, dev)
	}
	return list
}

// Report updates the actual values of a device's twins.
func (l *Link) Report(ctx context.Context, id string, values map[string]string) error {
	patches := make(map[string]*twin.Patch, len(values))
	for name, value := range values {
		patches[name] = &twin.Patch{Actual: &value}
	}
	_, err := l.engine.Update(ctx, id, patches)
	return markRefused(err)
}

// State sets a device's state.
func (l *Link) State(ctx context.Context, id, state string) error {
	_, err := l.engine.Do(ctx, twin.Call{Device: id, Request: twin.SetState{State: state, Within: device.Within}})
	return markRefused(err)
}

// markRefused wraps ErrRefused around the errors that are final.
func markRefused(err error) error {
	var e *twin.Error
	if errors.As(err, &e) && e.Code != twin.CodeInternal {
		return fmt.Errorf("%w: %w", device.ErrRefused, err)
	}
	return err
}
