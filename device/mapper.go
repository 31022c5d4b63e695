package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Config sets up a Mapper. Protocol, New and Link are required.
type Config struct {
	Protocol     string        // drive the devices whose spec.protocol.protocolName this is
	New          func() Driver // makes a driver for one device, before each Open
	Link         Link          // where devices come from and values go
	CollectCycle time.Duration // between two readings of a property that names none; 0 means 10 s
	Timeout      time.Duration // for each call of a driver or link; 0 means 10 s
	Backoff      time.Duration // before the first retry, doubled up to 64 times that; 0 means 1 s
	// Failures is the number of rounds in a row without any reading after which a device is
	// offline, and closed and opened again. A property that cannot be read so many times has
	// its device be unhealthy. 0 means 3.
	Failures int
	// Connection names what several devices share: a serial line, a gateway. Devices with the
	// same name are called one at a time, and when call after call fails, whichever the device,
	// all wait for one that tries. It must not block. nil, and the empty name, share nothing; see
	// ConnectionBy. Subscribe does not count.
	Connection func(Instance) string
	// Secrets gives what a secretRef in a device's protocol configuration refers to: only the
	// driver gets it. nil refuses such devices.
	Secrets Secrets
	// DiscoverCycle is the time between two searches for devices by a driver that is a
	// Discoverer. 0 searches only when Mapper.Discover is called. Another driver is not searched
	// with: that is logged once.
	DiscoverCycle time.Duration
	Logger        *slog.Logger // nil discards
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Protocol == "":
		return c, errors.New("device: Config.Protocol is required: the protocolName of the devices to drive")
	case c.New == nil:
		return c, errors.New("device: Config.New is required: it makes the driver of one device")
	case c.Link == nil:
		return c, errors.New("device: Config.Link is required: see device/mqtt and device/inprocess")
	case c.CollectCycle < 0 || c.Timeout < 0 || c.Backoff < 0 || c.DiscoverCycle < 0:
		return c, errors.New("device: durations in Config must not be negative")
	case c.Failures < 0:
		return c, errors.New("device: Config.Failures must not be negative")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.CollectCycle, 10 * time.Second}, {&c.Timeout, 10 * time.Second}, {&c.Backoff, time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Failures == 0 {
		c.Failures = deadRounds
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// endTimeout bounds the reports that devices are offline when Run ends.
const endTimeout = 2 * time.Second

// ErrStarted says that Run was called before.
var ErrStarted = errors.New("device: Run was called before")

// StuckError is the error of Run when it has ended while drivers were stuck: each is in a call
// whose deadline has passed.
type StuckError struct {
	Devices []string // by ID; empty if it is a search for devices
}

func (e *StuckError) Error() string {
	return "device: drivers did not return from calls whose deadline has passed: " + strings.Join(e.Devices, ", ")
}

// Mapper drives all devices of one protocol. Make one with New. All methods may be called by
// several goroutines at once.
type Mapper struct {
	cfg     Config
	counts  *counters
	started atomic.Bool
	ready   chan struct{}  // closed when the first list of devices is here
	watch   sync.WaitGroup // Link.Watch, Link.ServeMethods
	drivers sync.WaitGroup // the workers
	late    sync.WaitGroup // subscriptions, searches, and what waits for drivers that are stuck

	discovering sync.Mutex // held during a search

	mu        sync.Mutex
	workers   map[string]*worker  // by device ID; the goroutine of Run alone changes it
	proposals map[string]Proposal // by name

	// The rest belongs to the goroutine of Run.
	connections map[string]*connection // by what Config.Connection says
	// closing holds, by device ID, the done channel of the worker cancelled last.
	// The next worker of that device waits for it: a device is open once at a
	// time.
	closing map[string]<-chan struct{}
}

// New checks cfg and makes a Mapper.
func New(cfg Config) (*Mapper, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Mapper{
		cfg: cfg, counts: new(counters), ready: make(chan struct{}), workers: make(map[string]*worker),
		proposals: make(map[string]Proposal), connections: make(map[string]*connection), closing: make(map[string]<-chan struct{}),
	}, nil
}

// Run makes a Mapper and runs it; see Mapper.Run.
func Run(ctx context.Context, cfg Config) error {
	m, err := New(cfg)
	if err != nil {
		return err
	}
	return m.Run(ctx)
}

// Ready is closed when the mapper knows its devices.
func (m *Mapper) Ready() <-chan struct{} { return m.ready }

// Run drives the devices until ctx ends. It then closes them and reports, as
// far as the Link still can within 2 s, that they are offline. It returns nil, the error of
// Link.Watch, or a *StuckError if a driver did not return within twice Config.Timeout. A second
// call returns ErrStarted.
func (m *Mapper) Run(ctx context.Context) (err error) {
	if m.started.Swap(true) {
		return ErrStarted
	}
	watching, endWatch := context.WithCancel(context.WithoutCancel(ctx)) // until the last report
	working, endWork := context.WithCancel(ctx)
	defer func() {
		endWork()
		m.drivers.Wait()
		m.reportOffline(watching)
		endWatch()
		m.watch.Wait()
		err = errors.Join(err, m.awaitLate())
	}()
	lists := make(chan []Instance, 1) // the newest
	ended := make(chan error, 2)
	m.watch.Go(func() { ended <- m.watchDevices(watching, lists) })
	if link, ok := m.cfg.Link.(MethodLink); ok {
		m.watch.Go(func() { ended <- m.serveMethods(working, link) })
	}
	if m.cfg.DiscoverCycle > 0 {
		m.late.Go(func() { m.discover(working) })
	}
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return nil
		case list := <-lists:
			m.assign(working, list)
			if first {
				close(m.ready)
			}
		case err := <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// watchDevices passes on the newest list of devices.
func (m *Mapper) watchDevices(ctx context.Context, lists chan []Instance) error {
	err := m.cfg.Link.Watch(ctx, func(list []Instance) {
		select {
		case <-lists:
		default:
		}
		lists <- list // only this goroutine sends, so there is room
	})
	if err == nil {
		err = errors.New("Link.Watch returned before its context ended")
	}
	return fmt.Errorf("device: watch devices: %w", err)
}

// serveMethods answers calls of methods until ctx ends.
func (m *Mapper) serveMethods(ctx context.Context, link MethodLink) error {
	err := link.ServeMethods(ctx, m.Call)
	if err == nil {
		err = errors.New("Link.ServeMethods returned before its context ended")
	}
	return fmt.Errorf("device: serve methods: %w", err)
}

// awaitLate waits for what may be stuck in a driver, up to twice Config.Timeout.
func (m *Mapper) awaitLate() error {
	done := make(chan struct{})
	go func() { m.late.Wait(); close(done) }() // it ends with the drivers' calls
	timer := time.NewTimer(2 * m.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
	}
	stuck := new(StuckError)
	for id, w := range m.workers {
		m.closing[id] = w.done
	}
	for id, done := range m.closing { // devices that were removed are among them
		select {
		case <-done:
		default:
			stuck.Devices = append(stuck.Devices, id)
		}
	}
	slices.Sort(stuck.Devices)
	return stuck
}

// reportOffline reports the devices whose last report was that they answer. Their workers have
// ended.
func (m *Mapper) reportOffline(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	var reports sync.WaitGroup
	for id, w := range m.workers {
		if !alive(w.last) {
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

// assign brings the workers in line with the list of devices.
func (m *Mapper) assign(ctx context.Context, list []Instance) {
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
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.workers {
		if _, ok := wanted[id]; !ok {
			m.cancel(id)
		}
	}
	if len(m.workers) == 0 && len(m.closing) == 0 {
		clear(m.connections)
	}
	for id, dev := range wanted {
		old := m.workers[id]
		if old != nil && sameForDriver(old.dev, dev) {
			if !maps.Equal(old.given, dev.Desired) {
				old.given = dev.Desired
				old.setDesired(dev.Desired)
			}
			continue
		}
		m.cancel(id)
		w := newWorker(m, dev)
		w.after = m.closing[id]
		m.workers[id] = w
		var own context.Context
		own, w.cancel = context.WithCancel(ctx)
		m.drivers.Go(func() { w.run(own) })
	}
}

// cancel cancels the worker of a device, if it has one, and keeps its done channel.
func (m *Mapper) cancel(id string) {
	if w := m.workers[id]; w != nil {
		w.cancel()
		m.closing[id] = w.done
		delete(m.workers, id)
	}
}

// sameForDriver reports whether two devices are the same for a driver: descriptions and units
// in a model are for people.
func sameForDriver(a, b Instance) bool {
	if !reflect.DeepEqual(a.Spec, b.Spec) {
		return false
	}
	if reflect.DeepEqual(a.Model, b.Model) {
		return true
	}
	for _, m := range []*schema.DeviceModelSpec{&a.Model, &b.Model} {
		*m = *m.DeepCopy()
		for i := range m.Properties {
			m.Properties[i].Description, m.Properties[i].Unit = "", ""
		}
	}
	return reflect.DeepEqual(a.Model, b.Model)
}
