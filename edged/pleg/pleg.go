// Package pleg notices that something of a pod changed in the container
// runtime (the kubelet calls this part its pod lifecycle event generator). It
// listens to the runtime's events where there are any, and compares lists where
// there are none, so that a lost event delays a reaction but never prevents it.
//
//	watcher, err := pleg.New(pleg.Config{Source: source, Changed: func(uid string) { wake(uid) }})
//	if err != nil {
//		return err
//	}
//	return watcher.Run(ctx)
package pleg

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// Source is the view of a runtime that a Watcher needs.
type Source interface {
	// Snapshot lists all sandboxes and containers: for each id, the pod's uid
	// and the state.
	Snapshot(ctx context.Context) (map[string]Item, error)
	// Events calls fn with a pod's uid for each change until the stream or
	// ctx ends; an empty uid means that any pod may have changed. An error
	// that wraps ErrNoEvents means that there never will be any.
	Events(ctx context.Context, fn func(uid string)) error
}

// Item is a sandbox or container in a snapshot.
type Item struct {
	PodUID string
	State  string
}

// ErrNoEvents says that a runtime does not send events.
var ErrNoEvents = errors.New("pleg: the runtime sends no events")

// Config sets up a Watcher. Source and Changed are required.
type Config struct {
	Source  Source
	Changed func(uid string) // called from one goroutine at a time per cause; must not block
	// Relist is how often lists are compared without events; 0 means 1 second.
	Relist time.Duration
	// Check is how often lists are compared while events flow, against lost
	// ones; 0 means 30 seconds.
	Check time.Duration
	// Relisted is called after each list, with when it began and how long it took. nil ignores it.
	Relisted func(began time.Time, took time.Duration)
	Logger   *slog.Logger // nil discards
}

// Watcher watches a runtime.
type Watcher struct {
	guard lifecycle.Guard
	cfg   Config
	seen  map[string]Item
}

// New makes a Watcher.
func New(cfg Config) (*Watcher, error) {
	if cfg.Source == nil {
		return nil, errors.New("pleg: Config.Source is required")
	}
	if cfg.Changed == nil {
		return nil, errors.New("pleg: Config.Changed is required")
	}
	if cfg.Relist <= 0 {
		cfg.Relist = time.Second
	}
	if cfg.Check <= 0 {
		cfg.Check = 30 * time.Second
	}
	if cfg.Relisted == nil {
		cfg.Relisted = func(time.Time, time.Duration) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher{cfg: cfg}, nil
}

// Run watches until ctx ends, and then returns nil. A second call returns
// edged.ErrStarted.
func (w *Watcher) Run(ctx context.Context) error {
	if err := w.guard.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	flowing := make(chan struct{}, 1)
	relist := make(chan struct{}, 1)
	listen := func() {
		ended <- w.cfg.Source.Events(ctx, func(uid string) {
			wake(flowing)
			if uid == "" {
				wake(relist)
				return
			}
			w.cfg.Changed(uid)
		})
	}
	listening := true
	go listen()
	defer func() {
		cancel()
		if listening {
			<-ended //nolint:errcheck // its error no longer matters
		}
	}()
	w.compare(ctx)
	timer := time.NewTimer(w.cfg.Relist)
	defer timer.Stop()
	period, never := w.cfg.Relist, false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-flowing:
			if period != w.cfg.Check {
				period = w.cfg.Check
				w.compare(ctx) // what happened before the stream stood
			}
			continue
		case <-relist:
		case err := <-ended:
			listening, period = false, w.cfg.Relist
			never = never || errors.Is(err, ErrNoEvents)
			if !never && ctx.Err() == nil {
				w.cfg.Logger.Debug("the stream of runtime events ended; comparing lists", "err", err)
			}
		case <-timer.C:
			if !listening && !never {
				listening = true
				go listen()
			}
		}
		w.compare(ctx)
		timer.Reset(period)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// compare lists, and reports every pod of which something is new, gone or in
// another state. A runtime that does not answer has not changed.
func (w *Watcher) compare(ctx context.Context) {
	began := time.Now()
	now, err := w.cfg.Source.Snapshot(ctx)
	w.cfg.Relisted(began, time.Since(began))
	if err != nil {
		if ctx.Err() == nil {
			w.cfg.Logger.Debug("the runtime does not list", "err", err)
		}
		return
	}
	changed := make(map[string]bool)
	for id, item := range now {
		if old, ok := w.seen[id]; !ok || old.State != item.State {
			changed[item.PodUID] = true
		}
	}
	for id, item := range w.seen {
		if _, ok := now[id]; !ok {
			changed[item.PodUID] = true
		}
	}
	w.seen = now
	for uid := range changed {
		w.cfg.Changed(uid)
	}
}
