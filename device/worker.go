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

// deadRounds is the number of rounds without any reading after which a device is
// closed and opened again.
const deadRounds = 3

// worker drives one device in one goroutine.
type worker struct {
	cfg     Config
	dev     Instance
	log     *slog.Logger
	cancel  context.CancelFunc
	after   <-chan struct{}        // if not nil: wait for this before the first Open
	done    chan struct{}          // closed when run has ended
	updates chan map[string]string // the newest desired values; see setDesired
	given   map[string]string      // the desired values last given to setDesired; belongs to its caller

	// The rest belongs to run.
	driver  Driver
	desired map[string]string
	applied map[string]string    // desired values that the device has taken since it was opened
	due     map[string]time.Time // next reading of each property
	pending map[string]string    // actual values not reported yet
	state   string               // state not reported yet; empty if none
	last    string               // state as last reported
	sent    time.Time            // when a state or values were last reported
	dead    int                  // rounds in a row in which nothing could be read
	writes  map[string]attempts  // desired values that could not be written, by property
	reports attempts             // at reporting values and the state
	faulty  map[fault]bool       // faults that were logged and have not ended
}

// attempts counts the consecutive failures of one operation, and says when it may
// be tried again.
type attempts struct {
	value  string // the value that could not be written
	failed int
	next   time.Time
}

// retry counts one more failure and sets the time of the next attempt.
func (a attempts) retry(first time.Duration) attempts {
	a.next = time.Now().Add(backoff(first, a.failed))
	a.failed++
	return a
}

// fault is a lasting fault of one property. It is logged when it begins and when
// it ends.
type fault struct{ kind, property string }

const (
	unreadable = "property cannot be read"
	refused    = "value is refused"
)

// beginFault logs a fault when it begins.
func (w *worker) beginFault(kind, property string, err error) {
	if !w.faulty[fault{kind, property}] {
		w.faulty[fault{kind, property}] = true
		w.log.Warn(kind+"; logged once until it ends", "property", property, "err", err)
	}
}

// endFault logs a fault when it ends.
func (w *worker) endFault(kind, property string) {
	if w.faulty[fault{kind, property}] {
		delete(w.faulty, fault{kind, property})
		w.log.Info("fault has ended", "fault", kind, "property", property)
	}
}

func newWorker(cfg Config, dev Instance) *worker {
	return &worker{
		cfg: cfg, dev: dev, log: cfg.Logger.With("device", dev.ID),
		done: make(chan struct{}), updates: make(chan map[string]string, 1),
		given: dev.Desired, desired: dev.Desired, pending: make(map[string]string), faulty: make(map[fault]bool),
	}
}

// setDesired passes new desired values to run, which applies the newest. One
// goroutine calls it.
func (w *worker) setDesired(desired map[string]string) {
	select {
	case <-w.updates:
	default:
	}
	w.updates <- desired
}

// run opens the device and serves it, again and again.
func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	if w.after != nil {
		<-w.after // it ends: its context is cancelled
	}
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}
		w.log.Warn("device failed, opening it again", "err", err)
		w.setState(Offline)
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
			w.setState(Online) // it answers; an open connection is not enough
		}
		w.apply(ctx)
		w.flush(ctx)
		timer := time.NewTimer(w.pause(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case err := <-failed:
			timer.Stop()
			return fmt.Errorf("subscribe: %w", err)
		case w.desired = <-w.updates:
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
			errs <- errors.Join(err, errors.New("it returned before its context ended"))
		}
	}()
	return values, errs, func() { cancel(); <-done }
}

// collect reads the properties that are due.
func (w *worker) collect(ctx context.Context) {
	now := time.Now()
	read, errs := 0, 0
	for _, p := range w.dev.Spec.Properties {
		if ctx.Err() != nil || now.Before(w.due[p.Name]) {
			continue
		}
		cycle := p.Collect()
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
			w.beginFault(unreadable, property, err)
		}
		return false
	}
	w.endFault(unreadable, property)
	if desired, ok := w.desired[property]; ok && w.dev.same(property, value, desired) {
		value = desired // "20" for "20.0", so that the twin's two values are equal
	}
	w.pending[property] = value
	return true
}

// apply writes the desired values that the device does not have yet. A value that
// failed waits for its back-off; a new value is written at once.
func (w *worker) apply(ctx context.Context) {
	undesired := func(name string) bool { _, ok := w.desired[name]; return !ok }
	maps.DeleteFunc(w.applied, func(name, _ string) bool { return undesired(name) })
	maps.DeleteFunc(w.writes, func(name string, _ attempts) bool { return undesired(name) })
	for _, name := range slices.Sorted(maps.Keys(w.desired)) {
		value := w.desired[name]
		done, tried := w.applied[name]
		if (tried && done == value) || !w.dev.Writable(name) || ctx.Err() != nil {
			continue
		}
		failed := w.writes[name]
		if failed.value != value {
			failed = attempts{value: value}
		}
		if time.Now().Before(failed.next) {
			continue
		}
		if !tried && w.read(ctx, name) && w.pending[name] == value {
			w.applied[name] = value // the device has it already
			delete(w.writes, name)
			continue
		}
		if err := w.call(ctx, func(ctx context.Context) error { return w.driver.Write(ctx, name, value) }); err != nil {
			w.writes[name] = failed.retry(w.cfg.Backoff)
			if ctx.Err() == nil {
				w.log.Warn("property cannot be written, trying again", "property", name, "failed", w.writes[name].failed, "err", err)
			}
			continue
		}
		w.log.Info("property is written", "property", name, "value", value)
		w.applied[name] = value
		delete(w.writes, name)
		w.read(ctx, name)
	}
}

// setState keeps a state for flush unless it is the one last reported. A device that is
// online is reported again when nothing else was for a Heartbeat.
func (w *worker) setState(state string) {
	w.state = ""
	if state != w.last || state == Online && time.Since(w.sent) >= Heartbeat {
		w.state = state
	}
}

// flush reports the pending state and values, unless its back-off lasts.
func (w *worker) flush(ctx context.Context) {
	if w.reported() || time.Now().Before(w.reports.next) {
		return
	}
	if err := w.sendAll(ctx); err != nil {
		w.reports = w.reports.retry(w.cfg.Backoff)
		if ctx.Err() == nil {
			w.log.Warn("values are not reported, trying again", "failed", w.reports.failed, "err", err)
		}
		return
	}
	w.reports = attempts{}
}

// reported says that nothing is pending.
func (w *worker) reported() bool { return w.state == "" && len(w.pending) == 0 }

// sendAll reports the state and the values.
func (w *worker) sendAll(ctx context.Context) error {
	if w.state != "" {
		err := w.call(ctx, func(ctx context.Context) error { return w.cfg.Link.State(ctx, w.dev.ID, w.state) })
		if err != nil && !errors.Is(err, ErrRefused) {
			return err
		}
		w.last, w.state, w.sent = w.state, "", time.Now()
	}
	if len(w.pending) == 0 {
		return nil
	}
	err := w.send(ctx, w.pending)
	if errors.Is(err, ErrRefused) {
		// One refused value must not hold back the others.
		err = nil
		for name, value := range w.pending {
			one := w.send(ctx, map[string]string{name: value})
			if errors.Is(one, ErrRefused) {
				w.beginFault(refused, name, one)
			} else if one != nil {
				err = one
			} else {
				w.endFault(refused, name)
			}
		}
	} else if err == nil {
		for name := range w.pending {
			w.endFault(refused, name)
		}
	}
	if err == nil {
		clear(w.pending)
		w.sent = time.Now()
	}
	return err
}

func (w *worker) send(ctx context.Context, values map[string]string) error {
	return w.call(ctx, func(ctx context.Context) error { return w.cfg.Link.Report(ctx, w.dev.ID, maps.Clone(values)) })
}

// pause is how long the worker may wait for events.
func (w *worker) pause(now time.Time) time.Duration {
	rest := 64 * w.cfg.Backoff
	if !w.reported() {
		rest = min(rest, w.reports.next.Sub(now))
	}
	if w.last == Online && w.reported() && w.dead == 0 {
		rest = min(rest, w.sent.Add(Heartbeat).Sub(now))
	}
	for _, failed := range w.writes {
		rest = min(rest, failed.next.Sub(now))
	}
	for _, due := range w.due {
		rest = min(rest, due.Sub(now))
	}
	return max(rest, 0)
}
