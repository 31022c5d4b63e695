package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// deadRounds is after how many rounds in which nothing could be read a device
// is closed and opened again.
const deadRounds = 3

// worker drives one device in one goroutine.
type worker struct {
	cfg    MapperConfig
	dev    Instance
	log    *slog.Logger
	cancel context.CancelFunc
	after  <-chan struct{} // if not nil: wait for this before the first Open
	done   chan struct{}   // closed when run has ended
	wishes chan map[string]string
	given  map[string]string // the wishes last handed over; belongs to who calls wish

	// The rest belongs to run.
	driver  Driver
	desired map[string]string
	applied map[string]string    // wishes that the device has fulfilled since it was opened
	due     map[string]time.Time // next reading of each property
	pending map[string]string    // actual values not reported yet
	state   string               // state not reported yet; empty if none
	last    string               // state as last reported
	dead    int                  // rounds in a row in which nothing could be read
	failed  int                  // tries in a row of writing or reporting
}

func newWorker(cfg MapperConfig, dev Instance) *worker {
	return &worker{
		cfg: cfg, dev: dev, log: cfg.Logger.With("device", dev.ID),
		done: make(chan struct{}), wishes: make(chan map[string]string, 1),
		given: dev.Desired, desired: dev.Desired, pending: make(map[string]string),
	}
}

// wish hands over new wishes; only the newest count. One goroutine calls it.
func (w *worker) wish(desired map[string]string) {
	select {
	case <-w.wishes:
	default:
	}
	w.wishes <- desired
}

// run opens the device and serves it, again and again.
func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	if w.after != nil {
		<-w.after // its context has ended, and so will it
	}
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}
		w.log.Warn("device failed, opening it again", "error", err)
		w.report(Offline)
		w.flush(ctx)
		if time.Since(began) > 64*w.cfg.Backoff {
			attempt = 0
		}
		timer := time.NewTimer(w.backoff(attempt))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (w *worker) backoff(attempt int) time.Duration { return w.cfg.Backoff << min(attempt, 6) }

// session opens the device and serves it until ctx ends or the device is dead.
func (w *worker) session(ctx context.Context) (err error) {
	w.driver = w.cfg.New()
	if err := w.call(ctx, func(ctx context.Context) error { return w.driver.Open(ctx, w.dev) }); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	pushed, failed, stop := w.subscribe(ctx)
	defer func() {
		stop()
		err = errors.Join(err, w.driver.Close())
	}()
	w.applied, w.due, w.dead, w.failed = make(map[string]string), make(map[string]time.Time), 0, 0
	for {
		w.collect(ctx)
		switch {
		case w.dead >= deadRounds:
			return errors.New("nothing can be read")
		case w.dead == 0:
			w.report(Online) // it answers; being open is not enough
		}
		ok := w.apply(ctx)
		ok = w.flush(ctx) && ok
		if ok {
			w.failed = 0
		} else {
			w.failed++
		}
		timer := time.NewTimer(w.next(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case err := <-failed:
			timer.Stop()
			return fmt.Errorf("subscribe: %w", err)
		case w.desired = <-w.wishes:
			w.failed = 0
		case v := <-pushed:
			w.pending[v.property] = v.value
		case <-timer.C:
		}
		timer.Stop()
	}
}

// call bounds one call of the driver or the link.
func (w *worker) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	return f(ctx)
}

type reading struct{ property, value string }

// subscribe starts the driver's Subscribe if it has one. stop ends it and
// waits.
func (w *worker) subscribe(ctx context.Context) (pushed <-chan reading, failed <-chan error, stop func()) {
	s, ok := w.driver.(Subscriber)
	if !ok {
		return nil, nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	values, errs, done := make(chan reading, 16), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		err := s.Subscribe(ctx, func(property, value string) {
			select {
			case values <- reading{property, value}:
			case <-ctx.Done():
			}
		})
		if ctx.Err() == nil {
			errs <- errors.Join(err, errors.New("it has ended"))
		}
	}()
	return values, errs, func() { cancel(); <-done }
}

// collect reads the properties whose time has come.
func (w *worker) collect(ctx context.Context) {
	now := time.Now()
	read, errs := 0, 0
	for _, p := range w.dev.Spec.Properties {
		if ctx.Err() != nil || now.Before(w.due[p.Name]) {
			continue
		}
		cycle := time.Duration(p.CollectCycle) * time.Millisecond
		if cycle <= 0 {
			cycle = w.cfg.CollectCycle
		}
		w.due[p.Name] = now.Add(cycle)
		if w.read(ctx, p.Name) {
			read++
		} else {
			errs++
		}
	}
	switch {
	case read > 0:
		w.dead = 0
	case errs > 0:
		w.dead++
	}
}

// read reads one property into pending.
func (w *worker) read(ctx context.Context, property string) bool {
	var value string
	err := w.call(ctx, func(ctx context.Context) (err error) {
		value, err = w.driver.Read(ctx, property)
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("property cannot be read", "property", property, "error", err)
		}
		return false
	}
	if wish, ok := w.desired[property]; ok && w.dev.same(property, value, wish) {
		value = wish // "20" for "20.0", so that the twin's two sides agree
	}
	w.pending[property] = value
	return true
}

// apply writes the wishes that the device does not fulfil yet.
func (w *worker) apply(ctx context.Context) (ok bool) {
	ok = true
	maps.DeleteFunc(w.applied, func(name, _ string) bool {
		_, wished := w.desired[name]
		return !wished
	})
	for _, name := range slices.Sorted(maps.Keys(w.desired)) {
		wish := w.desired[name]
		if done, tried := w.applied[name]; (tried && done == wish) || !w.dev.Writable(name) || ctx.Err() != nil {
			continue
		}
		if _, tried := w.applied[name]; !tried && w.read(ctx, name) && w.pending[name] == wish {
			w.applied[name] = wish // it is so already
			continue
		}
		if err := w.call(ctx, func(ctx context.Context) error { return w.driver.Write(ctx, name, wish) }); err != nil {
			ok = false
			if ctx.Err() == nil {
				w.log.Warn("property cannot be written, trying again", "property", name, "error", err)
			}
			continue
		}
		w.log.Info("property is written", "property", name, "value", wish)
		w.applied[name] = wish
		w.read(ctx, name)
	}
	return ok
}

// report notes a state to be reported if it is not the one last reported.
func (w *worker) report(state string) {
	w.state = ""
	if state != w.last {
		w.state = state
	}
}

// flush reports what is pending and says whether nothing is left.
func (w *worker) flush(ctx context.Context) bool {
	if w.state != "" {
		err := w.call(ctx, func(ctx context.Context) error { return w.cfg.Link.State(ctx, w.dev.ID, w.state) })
		if err != nil && !errors.Is(err, ErrRefused) {
			return w.unreported(ctx, err)
		}
		w.last, w.state = w.state, ""
	}
	if len(w.pending) == 0 {
		return true
	}
	err := w.send(ctx, w.pending)
	if errors.Is(err, ErrRefused) {
		// One bad value must not keep the others back.
		err = nil
		for name, value := range w.pending {
			one := w.send(ctx, map[string]string{name: value})
			if errors.Is(one, ErrRefused) {
				w.log.Warn("value is refused", "property", name, "error", one)
			} else if one != nil {
				err = one
			}
		}
	}
	if err != nil {
		return w.unreported(ctx, err)
	}
	clear(w.pending)
	return true
}

func (w *worker) send(ctx context.Context, values map[string]string) error {
	return w.call(ctx, func(ctx context.Context) error { return w.cfg.Link.Report(ctx, w.dev.ID, maps.Clone(values)) })
}

func (w *worker) unreported(ctx context.Context, err error) bool {
	if ctx.Err() == nil {
		w.log.Warn("values are not reported, trying again", "error", err)
	}
	return false
}

// next is how long the worker may rest.
func (w *worker) next(now time.Time) time.Duration {
	rest := 64 * w.cfg.Backoff
	if w.failed > 0 {
		rest = w.backoff(w.failed - 1)
	}
	for _, due := range w.due {
		rest = min(rest, due.Sub(now))
	}
	return max(rest, 0)
}
