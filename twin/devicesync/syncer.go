package devicesync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/internal/loglimit"
)

// owner marks the engine's devices that come from the cloud.
const owner = "cloud"

// The resources in the store.
const (
	devices  = "devices"
	models   = "devicemodels"
	statuses = "devicestatuses"
)

// retry is the pause after a failure of the store or the engine.
const retry = time.Second

// Reporter puts an object into the outbox; meta/manager's Manager is one.
type Reporter interface {
	// Update returns when o is durable in the outbox. Only Key and Body are
	// set.
	Update(ctx context.Context, o meta.Object) error
}

// Config sets up a Syncer. Engine, Store and Reporter are required.
type Config struct {
	Engine   *twin.Engine
	Store    meta.Store       // Devices and DeviceModels are in its Down area
	Reporter Reporter         // takes DeviceStatus reports
	Interval time.Duration    // between two reports of one device; 0 means 1 s
	Offline  time.Duration    // the same while the link is down, so that a disk lasts longer; 0 means 10 s
	Now      func() time.Time // for times in conditions; nil means time.Now
	Logger   *slog.Logger     // nil discards
}

// Syncer declares the cloud's Devices to the twin engine and reports their
// DeviceStatus.
type Syncer struct {
	cfg     Config
	started atomic.Bool
	synced  chan struct{} // closed when the engine has all Devices for the first time
	dirty   dirty
	offline atomic.Bool // the link is down
	faults  loglimit.Limiter
}

// warn logs a fault that is retried for as long as it lasts: a few lines, and how
// many were left out.
func (s *Syncer) warn(msg string, args ...any) {
	if skipped, ok := s.faults.Allow(); ok {
		s.cfg.Logger.Warn(msg, append(args, "skipped", skipped)...)
	}
}

// New checks cfg and allocates a Syncer.
func New(cfg Config) (*Syncer, error) {
	if cfg.Engine == nil || cfg.Store == nil || cfg.Reporter == nil {
		return nil, errors.New("twin/devicesync: Config.Engine, Config.Store and Config.Reporter are required")
	}
	for name, d := range map[string]time.Duration{"Interval": cfg.Interval, "Offline": cfg.Offline} {
		if d < 0 {
			return nil, fmt.Errorf("twin/devicesync: Config.%s is %v: it must not be negative", name, d)
		}
	}
	cfg.Interval = cmp.Or(cfg.Interval, time.Second)
	cfg.Offline = cmp.Or(cfg.Offline, 10*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Syncer{cfg: cfg, synced: make(chan struct{}), dirty: newDirty()}, nil
}

// Connected says whether the node's link is connected. Before the first call it
// counts as connected. While the link is down, reports are written less often.
// When it is connected again, pending changes are reported at once. Connected may
// be called at any time.
func (s *Syncer) Connected(up bool) {
	s.offline.Store(!up)
	s.dirty.wakeUp()
}

// reportInterval is the least time between two reports of one device now.
func (s *Syncer) reportInterval() time.Duration {
	if s.offline.Load() {
		return max(s.cfg.Offline, s.cfg.Interval)
	}
	return s.cfg.Interval
}

// Run syncs until ctx ends, or until the store or the engine is closed. A second
// call returns twin.ErrStarted.
func (s *Syncer) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		return fmt.Errorf("twin/devicesync: %w", twin.ErrStarted)
	}
	defer s.cfg.Engine.Subscribe(s.markDirty)()
	select {
	case <-s.cfg.Engine.Ready():
	case <-ctx.Done():
		return nil
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.syncDevices(gctx) })
	group.Go(func() error { return s.reportStatuses(gctx) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("twin/devicesync: %w", err)
	}
	return nil
}
