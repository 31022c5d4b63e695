package twin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/twin/internal/loglimit"
)

// Bounds of an Engine's work.
const (
	queueLength = 1024 // requests that wait; the next one blocks its caller
	batchLength = 512  // requests in one batch of the store
)

// Errors that callers branch on.
var (
	// ErrStarted is returned by a second Run of one Engine.
	ErrStarted = errors.New("twin: Run was called before")
	// ErrClosed is returned for a request after Run has ended.
	ErrClosed = errors.New("twin: engine has ended")
)

// Config sets up an Engine. Only Store is required.
type Config struct {
	Store  meta.Store       // where the twins are kept, under meta.Local + "twin/"
	Now    func() time.Time // the clock for timestamps; nil means time.Now
	Logger *slog.Logger     // nil discards
}

// Engine keeps the twins of all devices of a node. All methods may be called
// by several goroutines at once; the package comment has the rules of order
// and durability.
type Engine struct {
	store meta.Store
	now   func() time.Time
	log   *slog.Logger
	queue chan call
	ready chan struct{}
	ended chan struct{} // closed when Run has ended

	mu      sync.RWMutex
	started bool
	devices map[string]Device
	next    int
	subs    []subscriber // in order of subscription; replaced, never changed

	faults loglimit.Limiter // of the store
}

// Call is a request with where it comes from.
type Call struct {
	Device  string // namespace/name
	Request Request
	Origin  string // of the request, repeated in the Commit; free text such as "mqtt"
	EventID string // the asker's own name for the request, repeated in the Commit
}

// Commit is what one Call did. Effects has no Save: it is done.
type Commit struct {
	Call
	Time    time.Time
	Effects []Effect
}

// Err returns the *Error of a refused Call, or nil.
func (c Commit) Err() error {
	for _, effect := range c.Effects {
		if refused, ok := effect.(Refused); ok {
			return refused.Err
		}
	}
	return nil
}

type call struct {
	Call
	done chan<- Commit // of a caller of Do, with room for one; else nil
}

type subscriber struct {
	id int
	fn func(Commit)
}

// New checks cfg and allocates an Engine.
func New(cfg Config) (*Engine, error) {
	if cfg.Store == nil {
		return nil, errors.New("twin: Config.Store is required; meta/memstore is one that needs nothing else")
	}
	e := &Engine{
		store: cfg.Store, now: cfg.Now, log: cfg.Logger,
		queue: make(chan call, queueLength), ready: make(chan struct{}), ended: make(chan struct{}),
		devices: make(map[string]Device),
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	return e, nil
}

// Run reads the devices from the store and serves requests until ctx ends. It
// fails when the store cannot be read or was closed.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.started {
		e.mu.Unlock()
		return ErrStarted
	}
	e.started = true
	e.mu.Unlock()
	defer close(e.ended)
	devices, err := load(ctx, e.store, e.log)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("twin: read devices: %w", err)
	}
	e.mu.Lock()
	e.devices = devices
	e.mu.Unlock()
	close(e.ready)
	batch := make([]call, 0, batchLength)
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-e.queue:
			batch = e.gather(append(batch[:0], c))
			if err := e.commit(ctx, batch); ctx.Err() != nil {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

// gather adds the calls that wait in the queue.
func (e *Engine) gather(batch []call) []call {
	for len(batch) < batchLength {
		select {
		case c := <-e.queue:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit steps through the batch, writes it as one, and notifies subscribers and
// callers. It fails only when the store is closed, or when ctx ends before the
// batch is written.
func (e *Engine) commit(ctx context.Context, batch []call) error {
	now := e.now()
	fresh := make(map[string]Device, 8) // what the batch has changed so far
	commits := make([]Commit, len(batch))
	ops := newOps()
	for i, c := range batch {
		device, ok := fresh[c.Device]
		if !ok {
			device = e.devices[c.Device] // only this goroutine writes to it
		}
		next, effects := Step(device, Event{Device: c.Device, Time: now, Request: c.Request})
		if len(effects) > 0 {
			if save, ok := effects[0].(Save); ok {
				effects = effects[1:]
				ops.add(c.Device, next, save)
				fresh[c.Device] = next
			}
		}
		commits[i] = Commit{Call: c.Call, Time: now, Effects: effects}
	}
	list, err := ops.list()
	if err == nil && len(list) > 0 {
		_, err = e.store.Apply(ctx, list...)
	}
	switch {
	case err == nil:
		e.adopt(fresh)
	case errors.Is(err, net.ErrClosed):
		return fmt.Errorf("twin: %w", err)
	case errors.Is(err, meta.ErrTooLarge) && len(batch) > 1:
		for _, c := range batch {
			if err := e.commit(ctx, []call{c}); err != nil {
				return err
			}
		}
		return nil
	case ctx.Err() != nil:
		// Run ends, and the callers of Do get ErrClosed.
		return ctx.Err()
	default:
		if skipped, ok := e.faults.Allow(); ok {
			e.log.Error("twin store failed", "error", err, "requests", len(batch), "skipped", skipped)
		}
		for i := range commits {
			commits[i].Effects = refuse(CodeInternal, "the store failed: %v", err)
		}
	}
	e.notify(batch, commits)
	return nil
}

// adopt publishes the devices of a batch to Device and Devices.
func (e *Engine) adopt(fresh map[string]Device) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, device := range fresh {
		if device.ID == "" {
			delete(e.devices, id)
		} else {
			e.devices[id] = device
		}
	}
}

// notify calls the subscribers, in the order of commits, and then answers the
// callers of Do.
func (e *Engine) notify(batch []call, commits []Commit) {
	e.mu.RLock()
	subs := e.subs
	e.mu.RUnlock()
	for _, c := range commits {
		for _, s := range subs {
			s.fn(c)
		}
	}
	for i, c := range batch {
		if c.done != nil {
			c.done <- commits[i]
		}
	}
}

// Ready is closed when the devices have been read from the store. Requests
// made before wait for it.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// Submit queues a request and returns. Subscribers get its Commit.
// It blocks while 1024 requests wait.
func (e *Engine) Submit(ctx context.Context, c Call) error {
	return e.submit(ctx, call{Call: c})
}

func (e *Engine) submit(ctx context.Context, c call) error {
	select {
	case <-e.ended:
		return ErrClosed
	default:
	}
	select {
	case e.queue <- c:
		return nil
	case <-e.ended:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("twin: request for %s: %w", c.Device, ctx.Err())
	}
}

// Do carries out a request and waits until it is durable. A refused request
// gives its *Error. When ctx ends first the request may still be carried out.
func (e *Engine) Do(ctx context.Context, c Call) (Commit, error) {
	done := make(chan Commit, 1)
	if err := e.submit(ctx, call{Call: c, done: done}); err != nil {
		return Commit{}, err
	}
	select {
	case commit := <-done:
		return commit, commit.Err()
	case <-e.ended:
		select {
		case commit := <-done: // it was among the last
			return commit, commit.Err()
		default:
			return Commit{}, ErrClosed
		}
	case <-ctx.Done():
		return Commit{}, fmt.Errorf("twin: request for %s: %w", c.Device, ctx.Err())
	}
}

// Update changes twins of a device as Do does with an Update, and returns the
// touched twins; a deleted one is nil.
func (e *Engine) Update(ctx context.Context, device string, patches map[string]*Patch) (map[string]*Twin, error) {
	commit, err := e.Do(ctx, Call{Device: device, Request: Update{Twins: patches}})
	for _, effect := range commit.Effects {
		if result, ok := effect.(Result); ok {
			return result.Twins, err
		}
	}
	return nil, err
}

// SetDesired sets expected values of a device by property name.
func (e *Engine) SetDesired(ctx context.Context, device string, values map[string]string) error {
	patches := make(map[string]*Patch, len(values))
	for name, value := range values {
		patches[name] = &Patch{Expected: &value}
	}
	_, err := e.Update(ctx, device, patches)
	return err
}

// Put adds a device or brings it up to date.
func (e *Engine) Put(ctx context.Context, device string, put Put) error {
	_, err := e.Do(ctx, Call{Device: device, Request: put})
	return err
}

// Remove removes a device with all its twins. One that is not there is fine.
func (e *Engine) Remove(ctx context.Context, device string) error {
	_, err := e.Do(ctx, Call{Device: device, Request: Remove{}})
	if errors.Is(err, &Error{Code: CodeUnknown}) {
		return nil
	}
	return err
}

// SetState reports a device's state; see SetState, the request.
func (e *Engine) SetState(ctx context.Context, device, state string) error {
	_, err := e.Do(ctx, Call{Device: device, Request: SetState{State: state}})
	return err
}

// Device returns a device as last committed. It is not to be changed.
func (e *Engine) Device(id string) (Device, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	d, ok := e.devices[id]
	return d, ok
}

// Devices returns all devices as last committed, by ID. They are not to be
// changed.
func (e *Engine) Devices() []Device {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.SortedFunc(maps.Values(e.devices), func(a, b Device) int { return cmp.Compare(a.ID, b.ID) })
}

// Subscribe has fn called with every Commit, refused ones included, until
// stop is called. The calls come from one goroutine in the order of commits,
// after the store has them, and hold up the engine: fn must not wait for a
// request of its own. Device and Devices may be called.
func (e *Engine) Subscribe(fn func(Commit)) (stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	id := e.next
	e.subs = append(slices.Clone(e.subs), subscriber{id: id, fn: fn})
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.subs = slices.DeleteFunc(slices.Clone(e.subs), func(s subscriber) bool { return s.id == id })
	}
}
