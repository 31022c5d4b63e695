package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"
)

// Config sets up Run. Protocol, New and Link are required.
type Config struct {
	Protocol     string        // drive the devices whose spec.protocol.protocolName this is
	New          func() Driver // makes a driver for one device, before each Open
	Link         Link          // where devices come from and values go
	CollectCycle time.Duration // between two readings of a property that names none; 0 means 10 s
	Timeout      time.Duration // for each call of a driver or link; 0 means 10 s
	Backoff      time.Duration // before the first retry, doubled up to 64 times that; 0 means 1 s
	Logger       *slog.Logger  // nil discards
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Protocol == "":
		return c, errors.New("device: Config.Protocol is required: the protocolName of the devices to drive")
	case c.New == nil:
		return c, errors.New("device: Config.New is required: it makes the driver of one device")
	case c.Link == nil:
		return c, errors.New("device: Config.Link is required: see device/mqtt and device/inprocess")
	case c.CollectCycle < 0 || c.Timeout < 0 || c.Backoff < 0:
		return c, errors.New("device: durations in Config must not be negative")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.CollectCycle, 10 * time.Second}, {&c.Timeout, 10 * time.Second}, {&c.Backoff, time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// endTimeout bounds the reports that devices are offline when Run ends.
const endTimeout = 2 * time.Second

// Run drives all devices of one protocol until ctx ends. It then closes them and reports, as
// far as the Link still can within 2 s, that they are offline. It returns nil, or the error of
// its settings or of Link.Watch.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	m := &mapper{cfg: cfg, workers: make(map[string]*worker), closing: make(map[string]<-chan struct{})}
	watching, endWatch := context.WithCancel(context.WithoutCancel(ctx)) // until the last report
	working, endWork := context.WithCancel(ctx)
	defer func() {
		endWork()
		m.drivers.Wait()
		m.reportOffline(watching)
		endWatch()
		m.watch.Wait()
	}()

	lists := make(chan []Instance, 1) // the newest
	ended := make(chan error, 1)
	m.watch.Go(func() {
		ended <- cfg.Link.Watch(watching, func(list []Instance) {
			select {
			case <-lists:
			default:
			}
			lists <- list // only this goroutine sends, so there is room
		})
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case list := <-lists:
			m.assign(working, list)
		case err := <-ended:
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errors.New("Link.Watch returned before its context ended")
			}
			return fmt.Errorf("device: watch devices: %w", err)
		}
	}
}

// reportOffline reports the devices whose last report was online. Their workers have ended.
func (m *mapper) reportOffline(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	var reports sync.WaitGroup
	for id, w := range m.workers {
		if w.last != Online {
			continue
		}
		reports.Go(func() {
			if err := m.cfg.Link.State(ctx, id, Offline); err != nil {
				w.log.Info("the device's state stays online until the edge notices its silence", "err", err)
			}
		})
	}
	reports.Wait()
}

// mapper keeps a worker for each device. The goroutine of Run owns it.
type mapper struct {
	cfg     Config
	watch   sync.WaitGroup     // Link.Watch
	drivers sync.WaitGroup     // the workers
	workers map[string]*worker // by device ID
	// closing holds, by device ID, the done channel of the worker cancelled last.
	// The next worker of that device waits for it: a device is open once at a
	// time.
	closing map[string]<-chan struct{}
}

// assign brings the workers in line with the list of devices.
func (m *mapper) assign(ctx context.Context, list []Instance) {
	maps.DeleteFunc(m.closing, func(_ string, done <-chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	wanted := make(map[string]Instance, len(list))
	for _, dev := range list {
		if dev.Spec.Protocol.Name == m.cfg.Protocol {
			wanted[dev.ID] = dev
		}
	}
	for id := range m.workers {
		if _, ok := wanted[id]; !ok {
			m.cancel(id)
		}
	}
	for id, dev := range wanted {
		old := m.workers[id]
		if old != nil && reflect.DeepEqual(old.dev.Spec, dev.Spec) && reflect.DeepEqual(old.dev.Model, dev.Model) {
			if !maps.Equal(old.given, dev.Desired) {
				old.given = dev.Desired
				old.setDesired(dev.Desired)
			}
			continue
		}
		m.cancel(id)
		w := newWorker(m.cfg, dev)
		w.after = m.closing[id]
		m.workers[id] = w
		var own context.Context
		own, w.cancel = context.WithCancel(ctx)
		m.drivers.Go(func() { w.run(own) })
	}
}

// cancel cancels the worker of a device, if it has one, and keeps its done channel.
func (m *mapper) cancel(id string) {
	if w := m.workers[id]; w != nil {
		w.cancel()
		m.closing[id] = w.done
		delete(m.workers, id)
	}
}
