package device

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// deadRounds is the default of Config.Failures.
const deadRounds = 3

// backoff is the pause after a failure, the attempt counting from 0.
func backoff(first time.Duration, attempt int) time.Duration { return first << min(max(attempt, 0), 6) }

// session opens the device and serves it until ctx ends or the device is dead.
func (w *worker) session(ctx context.Context) (err error) {
	dev, secrets, err := resolve(ctx, w.cfg.Secrets, w.dev)
	if err != nil {
		return fmt.Errorf("%w: %w", errSecret, err)
	}
	w.secrets, w.broken = secrets, nil
	if err := w.open(ctx, dev); err != nil {
		return err
	}
	sub := w.subscribe(ctx)
	defer func() { err = errors.Join(err, w.close(ctx, sub)) }()
	w.dead = 0
	for _, p := range w.points {
		p.due, p.applied, p.isApplied, p.writes = time.Time{}, "", false, attempts{}
		p.held, p.isHeld, p.isRejected = "", false, false
	}
	return w.serve(ctx, sub)
}

// open makes a driver and opens the device with it.
func (w *worker) open(ctx context.Context, dev Instance) error {
	driver, err := guarded(ctx, w.guard, newCall, func(context.Context) (Driver, error) {
		if d := w.cfg.New(); d != nil {
			return d, nil
		}
		return nil, errors.New("device.Config.New returned nil: it makes the driver of one device")
	})
	if w.guard.stuck() {
		w.free = w.guard.running
	}
	if err == nil {
		var opened atomic.Bool
		w.driver = driver
		_, err = guarded(ctx, w.guard, "Open", func(ctx context.Context) (none struct{}, err error) {
			err = driver.Open(ctx, dev)
			opened.Store(err == nil)
			return none, err
		})
		if w.guard.stuck() {
			w.closeLate(&opened, w.guard.running)
		}
	}
	count(&w.counts.opens, &w.counts.openErrors, err)
	if err != nil {
		return fmt.Errorf("%w: %w", errOpen, err)
	}
	return nil
}

// serve reads, writes and reports until ctx ends or the session must.
func (w *worker) serve(ctx context.Context, sub *subscription) error {
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for {
		w.collect(ctx)
		switch {
		case w.broken != nil:
			return w.broken
		case w.dead >= w.cfg.Failures:
			return fmt.Errorf("nothing can be read: %w", w.lastRead)
		case w.dead == 0:
			w.setState(w.health()) // it answers; an open connection is not enough
			w.condition(Condition{Type: ConditionConnected, Status: true, Reason: "Connected"})
		}
		w.takeDesired()
		w.apply(ctx)
		if w.broken != nil {
			return w.broken
		}
		w.releaseHeld(time.Now())
		w.flush(ctx)
		timer.Reset(w.pause(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case err := <-sub.failed:
			return fmt.Errorf("%w: %w", errSubscribe, err)
		case w.desired = <-w.updates:
		case v := <-sub.values:
			w.acceptPushed(sub, v)
		case c := <-w.calls:
			w.method(ctx, c)
		case <-timer.C:
		}
	}
}

// acceptPushed takes a value that the device has sent, and those that wait behind it.
func (w *worker) acceptPushed(sub *subscription, v reading) {
	for range cap(sub.values) {
		w.accept(w.byName[v.property], Reading{Value: v.value})
		select {
		case v = <-sub.values:
		default:
			return
		}
	}
	w.accept(w.byName[v.property], Reading{Value: v.value})
}

// health is the state of a device that answers.
func (w *worker) health() string {
	for _, p := range w.points {
		if p.failed >= w.cfg.Failures {
			return Unhealthy
		}
	}
	return Online
}

type reading struct{ property, value string }

// subscription is a Subscribe that runs. Its channels are nil for a driver without one.
type subscription struct {
	values <-chan reading
	failed <-chan error
	stop   context.CancelFunc
	done   <-chan struct{}
}

// subscribe starts the driver's Subscribe if it has one.
func (w *worker) subscribe(ctx context.Context) *subscription {
	s, ok := w.driver.(Subscriber)
	if !ok {
		return &subscription{stop: func() {}}
	}
	ctx, cancel := context.WithCancel(ctx)
	values, errs, done := make(chan reading, 16), make(chan error, 1), make(chan struct{})
	w.late.Go(func() {
		defer close(done)
		err := errors.New("the driver has ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				w.counts.panics.Add(1)
				err = &panicError{value: p}
			}
			if ctx.Err() == nil {
				errs <- errors.Join(err, errors.New("it returned before its context ended"))
			}
		}()
		err = s.Subscribe(ctx, func(property, value string) {
			select {
			case values <- reading{property, value}:
			case <-ctx.Done():
			}
		})
	})
	return &subscription{values: values, failed: errs, stop: cancel, done: done}
}

// close ends the subscription and closes the device. A driver that is stuck is closed when it
// has returned.
func (w *worker) close(ctx context.Context, sub *subscription) error {
	sub.stop()
	var opened atomic.Bool
	opened.Store(true)
	if sub.done != nil {
		timer := time.NewTimer(w.cfg.Timeout)
		defer timer.Stop()
		select {
		case <-sub.done:
		case <-timer.C:
			w.closeLate(&opened, sub.done, w.guard.running)
			return fmt.Errorf("%w: %w", errSubscribe, errStuck)
		}
	}
	if w.guard.stuck() {
		w.closeLate(&opened, w.guard.running)
		return nil
	}
	// The device is closed also when ctx has ended.
	_, err := guarded(context.WithoutCancel(ctx), w.guard, closeCall, func(context.Context) (none struct{}, err error) { return none, w.driver.Close() })
	if w.guard.stuck() {
		w.free = w.guard.running
	}
	return err
}

// closeLate closes the driver when it has returned from what it is stuck in, if it is open then.
func (w *worker) closeLate(opened *atomic.Bool, stuck ...<-chan struct{}) {
	driver, free := w.driver, make(chan struct{})
	w.free = free
	w.late.Go(func() {
		defer close(free)
		for _, c := range stuck {
			if c != nil {
				<-c
			}
		}
		defer func() { _ = recover() }() // the driver has failed already
		if opened.Load() {
			_ = driver.Close()
		}
	})
}
