package dmi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/device/dmi/internal/socket"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// DefaultSocket is where mappers of KubeEdge look for edgecore.
const DefaultSocket = "/etc/kubeedge/dmi.sock"

// MaxMappers is how many mappers may be registered. When one more registers, the one that is
// away for the longest time is forgotten.
const MaxMappers = 64

// checkEvery is how often Manager looks for mappers that are away for too long.
const checkEvery = 5 * time.Second

// ErrStarted is returned by a second Run of one Manager.
var ErrStarted = errors.New("device/dmi: Run was called before")

// Config sets up a Manager. Engine, Store and Socket are required.
type Config struct {
	Engine *twin.Engine // has the twins; runs elsewhere
	Store  meta.Store   // keeps the mappers, under meta.Local + "dmi/"
	Socket string       // where mappers connect: /PATH or unix:///PATH; DefaultSocket is KubeEdge's
	Group  int          // number of the group that may open the socket besides this user; 0 means none
	// Reports is how many reports of the devices of one mapper may be in work at once; 0 means 256.
	Reports int
	// Timeout is for each call to a mapper; 0 means 10 s.
	Timeout time.Duration
	// Backoff is the pause before a call that failed is tried again, doubled up to 64 times
	// that; 0 means 1 s.
	Backoff time.Duration
	// Grace is how long a mapper may be away before its devices go to another mapper of the
	// protocol, or become unknown if there is none; 0 means 45 s.
	Grace time.Duration
	// Claims has mappers over MQTT and over DMI not drive the devices of one protocol at once; nil
	// means that there are none over MQTT.
	Claims Claims
	Logger *slog.Logger // nil discards
}

func (c Config) withDefaults() (Config, error) {
	if c.Engine == nil || c.Store == nil {
		return c, errors.New("device/dmi: Config.Engine and Config.Store are required")
	}
	path, err := socket.Path(c.Socket)
	if err != nil {
		return c, fmt.Errorf("device/dmi: Config.Socket: %w", err)
	}
	c.Socket = path
	if c.Reports < 0 || c.Timeout < 0 || c.Backoff < 0 || c.Grace < 0 || c.Group < 0 {
		return c, errors.New("device/dmi: numbers and durations in Config must not be negative")
	}
	if c.Reports == 0 {
		c.Reports = 256
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.Timeout, 10 * time.Second}, {&c.Backoff, time.Second}, {&c.Grace, 45 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Stats are figures of a Manager.
type Stats struct {
	Mappers   int   // that are registered
	Connected int   // of these
	Devices   int   // that a mapper has or is to have
	Reports   int64 // that were stored
	Refused   int64 // reports with something that was refused
	Exhausted int64 // reports that were over the limit of their mapper
	Untimed   int64 // values whose timestamp was not kept, see "Reports"
	Calls     int64 // to mappers
	Failed    int64 // of these
}

// Manager is DeviceManagerService for mappers, and gives them their devices. Make one with New.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	codec   *v1beta1.Codec
	started atomic.Bool
	ready   chan struct{} // closed when the socket is there
	wake    chan struct{} // there are pending devices, or a mapper to start

	loaded chan struct{} // closed when the records and the engine's devices are here

	reports, refused, exhausted, untimed, calls, failed atomic.Int64

	mu        sync.Mutex
	mappers   map[string]*mapper // by name
	protocols map[string]string  // of devices by ID
	owners    map[string]*mapper // of devices by ID
	pending   map[string]struct{}
	inWork    map[string]int // reports by the name of the mapper; "" for devices without one

	claiming    sync.Mutex           // held while a protocol is claimed or released, before mu
	claimWake   chan struct{}        // there is something to claim or release
	claims      map[string]claim     // by protocol; mu guards it and the next two
	claimFrom   map[string]time.Time // when a protocol may first be claimed
	claimFailed map[string]time.Time // since when claims have failed
}

// New checks cfg and allocates a Manager.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Manager{
		cfg: cfg, log: cfg.Logger, codec: v1beta1.NewCodec(), ready: make(chan struct{}), wake: make(chan struct{}, 1), loaded: make(chan struct{}),
		mappers: make(map[string]*mapper), protocols: make(map[string]string), owners: make(map[string]*mapper),
		pending: make(map[string]struct{}), inWork: make(map[string]int),
		claimWake: make(chan struct{}, 1), claims: make(map[string]claim), claimFrom: make(map[string]time.Time), claimFailed: make(map[string]time.Time),
	}, nil
}

// Ready is closed when mappers can connect.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Stats returns the figures as they are now.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{
		Mappers: len(m.mappers), Devices: len(m.owners), Reports: m.reports.Load(), Refused: m.refused.Load(),
		Exhausted: m.exhausted.Load(), Untimed: m.untimed.Load(), Calls: m.calls.Load(), Failed: m.failed.Load(),
	}
	for _, p := range m.mappers {
		if p.connected {
			s.Connected++
		}
	}
	return s
}

// Run serves mappers until ctx ends. It fails when the socket cannot be made, or the store not
// be read. The engine may start before or after it. A second call returns ErrStarted.
func (m *Manager) Run(ctx context.Context) error {
	if m.started.Swap(true) {
		return ErrStarted
	}
	defer m.cfg.Engine.Subscribe(func(c twin.Commit) {
		if devicespec.Changes(c) {
			m.touch(c.Device)
		}
	})()
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.serve(gctx) })
	group.Go(func() error { return m.manage(gctx) })
	group.Go(func() error { return m.runClaims(gctx) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("device/dmi: %w", err)
	}
	return nil
}

// manage gives devices to mappers, and runs the connections to these.
func (m *Manager) manage(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case <-m.cfg.Engine.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := m.load(ctx); err != nil {
		return err
	}
	check := time.NewTicker(min(checkEvery, m.cfg.Grace))
	defer check.Stop()
	for {
		m.mu.Lock()
		m.settleLocked()
		for _, p := range m.mappers {
			if !p.running {
				p.running = true
				running.Go(func() { p.run(ctx) })
			}
		}
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-check.C:
			m.checkAway(ctx)
		}
	}
}

// touch has a device looked at again. It does not wait.
func (m *Manager) touch(ids ...string) {
	m.mu.Lock()
	for _, id := range ids {
		m.pending[id] = struct{}{}
	}
	m.mu.Unlock()
	notify(m.wake)
}

// notify wakes who waits for a channel that has room for one.
func notify(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default: // one is enough
	}
}
