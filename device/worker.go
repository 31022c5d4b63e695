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
	writes  map[string]attempts  // wishes that could not be written, by property
	reports attempts             // at reporting values and the state
	faulty  map[fault]bool       // what was logged and is not over yet
}

// attempts are the failures in a row of one thing, and when it may be tried
// again.
type attempts struct {
	wish   string // the value that could not be written
	failed int
	next   time.Time
}

// again is a with one failure more.
func (a attempts) again(first time.Duration) attempts {
	a.next = time.Now().Add(backoff(first, a.failed))
	a.failed++
	return a
}

// fault is something about one property that lasts, and is logged when it
// begins and when it is over.
type fault struct{ kind, property string }

const (
	unreadable = "property cannot be read"
	refused    = "value is refused"
)

// begin logs a fault unless it lasts already.
func (w *worker) begin(kind, property string, err error) {
	if !w.faulty[fault{kind, property}] {
		w.faulty[fault{kind, property}] = true
		w.log.Warn(kind+"; logged once until that is over", "property", property, "error", err)
	}
}

// end logs that a fault is over.
func (w *worker) end(kind, property string) {
	if w.faulty[fault{kind, property}] {
		delete(w.faulty, fault{kind, property})
		w.log.Info("fault is over", "fault", kind, "property", property)
	}
}

func newWorker(cfg MapperConfig, dev Instance) *worker {
	return &worker{
		cfg: cfg, dev: dev, log: cfg.Logger.With("device", dev.ID),
		done: make(chan struct{}), wishes: make(chan map[string]string, 1),
		given: dev.Desired, desired: dev.Desired, pending: make(map[string]string), faulty: make(map[fault]bool),
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
		timer := time.NewTimer(backoff(w.cfg.Backoff, attempt))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// backoff is the pause after a failure, the attempt counting from 0.
func backoff(first time.Duration, attempt int) time.Duration { return first << min(attempt, 6) }

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
	w.applied, w.due, w.dead, w.writes = make(map[string]string), make(map[string]time.Time), 0, make(map[string]attempts)
	for {
		w.collect(ctx)
		switch {
		case w.dead >= deadRounds:
			return errors.New("nothing can be read")
		case w.dead == 0:
			w.report(Online) // it answers; being open is not enough
		}
		w.apply(ctx)
		w.flush(ctx)
		timer := time.NewTimer(w.next(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case err := <-failed:
			timer.Stop()
			return fmt.Errorf("subscribe: %w", err)
		case w.desired = <-w.wishes:
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
			w.begin(unreadable, property, err)
		}
		return false
	}
	w.end(unreadable, property)
	if wish, ok := w.desired[property]; ok && w.dev.same(property, value, wish) {
		value = wish // "20" for "20.0", so that the twin's two sides agree
	}
	w.pending[property] = value
	return true
}

// apply writes the wishes that the device does not fulfil yet. A wish that
// failed waits for its time; a new one does not.
func (w *worker) apply(ctx context.Context) {
	unwished := func(name string) bool { _, wished := w.desired[name]; return !wished }
	maps.DeleteFunc(w.applied, func(name, _ string) bool { return unwished(name) })
	maps.DeleteFunc(w.writes, func(name string, _ attempts) bool { return unwished(name) })
	for _, name := range slices.Sorted(maps.Keys(w.desired)) {
		wish := w.desired[name]
		done, tried := w.applied[name]
		if (tried && done == wish) || !w.dev.Writable(name) || ctx.Err() != nil {
			continue
		}
		failed := w.writes[name]
		if failed.wish != wish {
			failed = attempts{wish: wish}
		}
		if time.Now().Before(failed.next) {
			continue
		}
		if !tried && w.read(ctx, name) && w.pending[name] == wish {
			w.applied[name] = wish // it is so already
			delete(w.writes, name)
			continue
		}
		if err := w.call(ctx, func(ctx context.Context) error { return w.driver.Write(ctx, name, wish) }); err != nil {
			w.writes[name] = failed.again(w.cfg.Backoff)
			if ctx.Err() == nil {
				w.log.Warn("property cannot be written, trying again", "property", name, "failed", w.writes[name].failed, "error", err)
			}
			continue
		}
		w.log.Info("property is written", "property", name, "value", wish)
		w.applied[name] = wish
		delete(w.writes, name)
		w.read(ctx, name)
	}
}

// report notes a state to be reported if it is not the one last reported.
func (w *worker) report(state string) {
	w.state = ""
	if state != w.last {
		w.state = state
	}
}

// flush reports what is pending, unless reporting has just failed.
func (w *worker) flush(ctx context.Context) {
	if w.reported() || time.Now().Before(w.reports.next) {
		return
	}
	if err := w.sendAll(ctx); err != nil {
		w.reports = w.reports.again(w.cfg.Backoff)
		if ctx.Err() == nil {
			w.log.Warn("values are not reported, trying again", "failed", w.reports.failed, "error", err)
		}
		return
	}
	w.reports = attempts{}
}

// reported reports whether nothing is pending.
func (w *worker) reported() bool { return w.state == "" && len(w.pending) == 0 }

// sendAll reports the state and the values.
func (w *worker) sendAll(ctx context.Context) error {
	if w.state != "" {
		err := w.call(ctx, func(ctx context.Context) error { return w.cfg.Link.State(ctx, w.dev.ID, w.state) })
		if err != nil && !errors.Is(err, ErrRefused) {
			return err
		}
		w.last, w.state = w.state, ""
	}
	if len(w.pending) == 0 {
		return nil
	}
	err := w.send(ctx, w.pending)
	if errors.Is(err, ErrRefused) {
		// One bad value must not keep the others back.
		err = nil
		for name, value := range w.pending {
			one := w.send(ctx, map[string]string{name: value})
			if errors.Is(one, ErrRefused) {
				w.begin(refused, name, one)
			} else if one != nil {
				err = one
			} else {
				w.end(refused, name)
			}
		}
	} else if err == nil {
		for name := range w.pending {
			w.end(refused, name)
		}
	}
	if err == nil {
		clear(w.pending)
	}
	return err
}

func (w *worker) send(ctx context.Context, values map[string]string) error {
	return w.call(ctx, func(ctx context.Context) error { return w.cfg.Link.Report(ctx, w.dev.ID, maps.Clone(values)) })
}

// next is how long the worker may rest.
func (w *worker) next(now time.Time) time.Duration {
	rest := 64 * w.cfg.Backoff
	if !w.reported() {
		rest = min(rest, w.reports.next.Sub(now))
	}
	for _, failed := range w.writes {
		rest = min(rest, failed.next.Sub(now))
	}
	for _, due := range w.due {
		rest = min(rest, due.Sub(now))
	}
	return max(rest, 0)
}
