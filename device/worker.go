package device

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// worker drives one device in one goroutine.
type worker struct {
	cfg     Config
	dev     Instance
	log     *slog.Logger
	cancel  context.CancelFunc
	after   <-chan struct{}        // if not nil: wait for this before the first Open
	done    chan struct{}          // closed when run has ended and no driver of the device is open
	updates chan map[string]string // the newest desired values; see setDesired
	given   map[string]string      // the desired values last given to setDesired; belongs to its caller
	calls   chan methodCall        // of methods
	ended   chan struct{}          // closed when run has ended

	mu         sync.Mutex           // guards what follows, of which run alone changes all
	current    string               // the state
	conditions map[string]Condition // by type
	unsent     map[string]Condition // conditions not reported yet

	// The rest belongs to run.
	guard        *guard
	counts       *counters
	late         *sync.WaitGroup // for what waits for a driver that is stuck
	free         <-chan struct{} // closed when the driver that was stuck is closed; nil if none was
	driver       Driver
	secrets      []string // that the open driver was given
	broken       error    // why the driver cannot be used any more: it panicked or is stuck
	points       []*point
	byName       map[string]*point
	desired      map[string]string
	state        string         // state not reported yet; empty if none
	last         string         // state as last reported
	sent         time.Time      // when a state or values were last reported
	lastRead     error          // why the last property that could not be read could not
	dead         int            // rounds in a row in which nothing could be read
	dirty        bool           // the problem of a property has changed
	conditionsAt time.Time      // no report of conditions before this
	reports      attempts       // at reporting values and the state
	faulty       map[fault]bool // faults that were logged and have not ended
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
	invalid    = "property has an invalid value"
	refused    = "value is refused"
	unwritable = "property cannot be written"
)

// beginFault logs a fault when it begins.
func (w *worker) beginFault(kind, property string, err error) {
	if !w.faulty[fault{kind, property}] {
		w.faulty[fault{kind, property}] = true
		w.log.Warn(kind+"; logged once until it ends", "property", property, "err", redact(err, w.secrets))
	}
}

// endFault logs a fault when it ends.
func (w *worker) endFault(kind, property string) {
	if len(w.faulty) > 0 && w.faulty[fault{kind, property}] {
		delete(w.faulty, fault{kind, property})
		w.log.Info("fault has ended", "fault", kind, "property", property)
	}
}

// setProblem keeps what is wrong with a property.
func (w *worker) setProblem(of *problem, now problem) {
	if *of != now {
		*of, w.dirty = now, true
	}
}

// newWorker makes the worker of a device for a mapper.
func newWorker(m *Mapper, dev Instance) *worker {
	w := &worker{
		cfg: m.cfg, dev: dev, log: m.cfg.Logger.With("device", dev.ID),
		done: make(chan struct{}), ended: make(chan struct{}), updates: make(chan map[string]string, 1), calls: make(chan methodCall),
		given: dev.Desired, desired: dev.Desired, faulty: make(map[fault]bool),
		conditions: make(map[string]Condition), unsent: make(map[string]Condition),
		guard:  &guard{timeout: m.cfg.Timeout, conn: m.connectionOf(dev), counts: m.counts, late: &m.late},
		counts: m.counts, late: &m.late, points: newPoints(m.cfg, dev), byName: make(map[string]*point), dirty: true,
	}
	for _, p := range w.points {
		w.byName[p.name] = p
	}
	return w
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

// takeDesired takes the newest desired values if there are new ones.
func (w *worker) takeDesired() {
	select {
	case w.desired = <-w.updates:
	default:
	}
}

// run opens the device and serves it, again and again.
func (w *worker) run(ctx context.Context) {
	defer w.end()
	w.setEnabled()
	if !w.await(ctx, w.after) {
		return
	}
	w.after = nil
	if w.dev.Spec.Disabled {
		w.setState(Disabled)
		w.idle(ctx, nil, forever)
		return
	}
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 64*w.cfg.Backoff {
			attempt = 0
		}
		pause := backoff(w.cfg.Backoff, attempt)
		pause -= rand.N(pause/4 + 1) // devices that failed together do not come back together
		if shared := new(waitError); errors.As(err, &shared) {
			pause = max(time.Until(shared.until), 0)
			attempt-- // it was not this device's
		}
		w.fail(err)
		w.idle(ctx, nil, pause)
		if !w.await(ctx, w.free) {
			return
		}
		w.free = nil
	}
}

// end ends the worker. The next one waits on done until no driver of this one is open.
func (w *worker) end() {
	close(w.ended)
	pending := []<-chan struct{}{w.after, w.free}
	for _, c := range pending {
		if c != nil {
			w.late.Go(func() {
				for _, c := range pending {
					if c != nil {
						<-c
					}
				}
				close(w.done)
			})
			return
		}
	}
	close(w.done)
}

// fail reports why a session has ended.
func (w *worker) fail(err error) {
	err = redact(err, w.secrets)
	args := []any{"err", err}
	if p := new(panicError); errors.As(err, &p) {
		args = append(args, "stack", string(p.stack))
	}
	w.log.Warn("device failed, opening it again", args...)
	w.setState(Offline)
	w.condition(Condition{Type: ConditionConnected, Reason: connectedReason(err), Message: err.Error()})
}

// The steps of a session that fail with reasons of their own.
var (
	errSecret    = errors.New("secret")
	errSubscribe = errors.New("subscribe")
	errOpen      = errors.New("open")
)

// connectedReason is the reason of the condition Connected for an error that ended a session.
func connectedReason(err error) string {
	var p *panicError
	var shared *waitError
	switch {
	case errors.As(err, &p):
		return "DriverPanicked"
	case errors.Is(err, errStuck):
		return "DriverStuck"
	case errors.As(err, &shared), errors.Is(err, ErrConnection):
		return "ConnectionFailed"
	case errors.Is(err, errSecret):
		return "SecretMissing"
	case errors.Is(err, errSubscribe):
		return "SubscribeFailed"
	case errors.Is(err, errOpen):
		return "OpenFailed"
	}
	return "NothingReadable"
}

// setEnabled sets the condition Enabled.
func (w *worker) setEnabled() {
	c := Condition{Type: ConditionEnabled, Status: true, Reason: "Enabled"}
	if w.dev.Spec.Disabled {
		c = Condition{Type: ConditionEnabled, Reason: "Disabled", Message: "spec.disabled is true: the device is not opened, read or written"}
	}
	w.condition(c)
}

// await waits until a driver that is stuck is closed, if c is not nil. It reports false when
// ctx has ended.
func (w *worker) await(ctx context.Context, c <-chan struct{}) bool {
	if c == nil {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(w.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-c:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	w.setState(Offline)
	w.condition(Condition{Type: ConditionConnected, Reason: "DriverStuck", Message: errStuck.Error()})
	w.idle(ctx, c, forever)
	return ctx.Err() == nil
}

// forever is a pause without an end.
const forever = time.Duration(1<<63 - 1)

// idle reports what is pending, until the pause is over, until is closed or ctx ends. Methods
// are refused meanwhile.
func (w *worker) idle(ctx context.Context, until <-chan struct{}, pause time.Duration) {
	end, retry := time.NewTimer(pause), time.NewTimer(forever)
	defer end.Stop()
	defer retry.Stop()
	for {
		w.flush(ctx)
		retry.Reset(w.reportPause(time.Now(), forever))
		select {
		case <-ctx.Done():
			return
		case <-until:
			return
		case <-end.C:
			return
		case c := <-w.calls:
			c.refuse(&CallError{Code: CodeUnavailable, Reason: "the device is " + w.status()})
		case <-retry.C:
		}
	}
}

// status is the state of the device.
func (w *worker) status() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}
