package twin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/twin/history"
	"github.com/edgekit/edgekit/twin/internal/loglimit"
)

// tickEvery is how often the engine looks for devices that have become silent.
const tickEvery = 5 * time.Second

// Errors that callers branch on.
var (
	// ErrStarted is returned by a second Run of one Engine.
	ErrStarted = errors.New("twin: Run was called before")
	// ErrClosed is returned for a request after Run has ended.
	ErrClosed = errors.New("twin: engine has ended")
)

// Config sets up an Engine. Only Store is required.
type Config struct {
	Store meta.Store       // where the twins are kept, under meta.Local + "twin/"
	Now   func() time.Time // the clock for timestamps; nil means time.Now
	// TimesEvery is the time between two writes of what changed in timestamps only: values
	// that were reported again as they were. After a crash such a timestamp may be older by
	// that much; no value is. 0 means 5 minutes.
	TimesEvery time.Duration
	// HistoryBytes is the most that all past values have together on disk; 0 means 16 MiB. A
	// negative value turns the history off.
	HistoryBytes int64
	// HistoryEvery is the time between two writes of new past values: a power cut loses those
	// of that time. It loses no current value. 0 means 1 minute.
	HistoryEvery time.Duration
	Logger       *slog.Logger // nil discards
}

// Engine keeps the twins of all devices of a node. All methods may be called
// by several goroutines at once; the package comment has the rules of order
// and durability.
type Engine struct {
	store meta.Store
	now   func() time.Time
	log   *slog.Logger
	queue callQueue
	ready chan struct{}
	ended chan struct{} // closed when Run has ended

	mu      sync.RWMutex
	started bool
	devices map[string]Device
	next    int
	subs    []subscriber // in order of subscription; replaced, never changed
	commits uint64       // how many batches are in devices

	later  map[string]map[string]struct{} // what Save.Later named, by device; "" is the device. Run owns it.
	every  time.Duration                  // Config.TimesEvery
	past   *history.Log                   // nil if it is turned off
	saving time.Duration                  // Config.HistoryEvery
	urgent bool                           // the history is to be written now. Run owns it.
	faults loglimit.Limiter               // of the store
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
	index int           // in the calls of the caller that waits
	done  chan<- answer // of a caller that waits, with room for all its answers; else nil
}

// answer is the commit of one of the calls of a caller.
type answer struct {
	index  int
	commit Commit
}

type subscriber struct {
	id    int
	fn    func(Commit)
	after uint64 // it gets the batches after this one
}

// New checks cfg and allocates an Engine.
func New(cfg Config) (*Engine, error) {
	if cfg.Store == nil {
		return nil, errors.New("twin: Config.Store is required; meta/memstore is one that needs nothing else")
	}
	e := &Engine{
		store: cfg.Store, now: cfg.Now, log: cfg.Logger, every: cfg.TimesEvery, later: make(map[string]map[string]struct{}),
		queue: newQueue(), saving: cfg.HistoryEvery, ready: make(chan struct{}), ended: make(chan struct{}),
		devices: make(map[string]Device),
	}
	if e.every < 0 || e.saving < 0 {
		return nil, errors.New("twin: Config.TimesEvery and HistoryEvery must not be negative")
	}
	if e.saving == 0 {
		e.saving = time.Minute
	}
	if e.every == 0 {
		e.every = 5 * time.Minute
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if cfg.HistoryBytes >= 0 {
		var err error
		e.past, err = history.New(history.Config{Store: cfg.Store, MaxBytes: cfg.HistoryBytes, Now: e.now, Logger: e.log})
		if err != nil {
			return nil, fmt.Errorf("twin: Config.HistoryBytes: %w", err)
		}
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
	for id, d := range devices {
		if !d.LastReport.IsZero() {
			d.LastReport = e.now().UTC() // while nobody listened, silence said nothing
		}
		devices[id] = d
	}
	e.mu.Lock()
	e.devices = devices
	e.mu.Unlock()
	if err := e.loadHistory(ctx); err != nil {
		return err
	}
	close(e.ready)
	if err = e.serve(ctx); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // the store outlives the engine
	return errors.Join(e.writeTimes(ctx), e.flushHistory(ctx))
}

// serve carries out requests until ctx ends.
func (e *Engine) serve(ctx context.Context) error {
	times, tick, saving := time.NewTicker(e.every), time.NewTicker(tickEvery), time.NewTicker(e.saving)
	defer times.Stop()
	defer tick.Stop()
	defer saving.Stop()
	var spare []call
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-e.queue.wake:
			batch := e.queue.takeAll(spare)
			err = e.commit(ctx, batch)
			if clear(batch); cap(batch) <= batchLength {
				spare = batch
			} else {
				spare = nil // a burst, which need not have memory for ever
			}
		case <-saving.C:
			err = e.flushHistory(ctx)
		case <-times.C:
			err = e.writeTimes(ctx)
		case <-tick.C:
			for silent := range slices.Chunk(e.silent(), batchLength) {
				if err = e.commit(ctx, silent); err != nil {
					break
				}
			}
		}
		if err == nil && e.urgent {
			err = e.flushHistory(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Ready is closed when the devices have been read from the store. Requests
// made before wait for it.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// Submit queues a request and returns. Subscribers get its Commit.
// It blocks while 4096 requests wait, or 8 MiB of names and values.
func (e *Engine) Submit(ctx context.Context, c Call) error {
	return e.submit(ctx, call{Call: c})
}

func (e *Engine) submit(ctx context.Context, c call) error {
	select {
	case <-e.ended:
		return ErrClosed
	default:
	}
	return e.queue.put(ctx, e.ended, c)
}

// Do carries out a request and waits until it is durable. A refused request
// gives its *Error. When ctx ends first the request may still be carried out.
func (e *Engine) Do(ctx context.Context, c Call) (Commit, error) {
	done := make(chan answer, 1)
	if err := e.submit(ctx, call{Call: c, done: done}); err != nil {
		return Commit{}, err
	}
	a, err := e.wait(ctx, done)
	switch {
	case err == nil:
		return a.commit, a.commit.Err()
	case errors.Is(err, ErrClosed):
		return Commit{}, err
	}
	return Commit{}, fmt.Errorf("twin: request for %s: %w", c.Device, err)
}

// wait returns the next answer.
func (e *Engine) wait(ctx context.Context, done <-chan answer) (answer, error) {
	select {
	case a := <-done:
		return a, nil
	case <-e.ended:
		select {
		case a := <-done: // it was among the last
			return a, nil
		default:
			return answer{}, ErrClosed
		}
	case <-ctx.Done():
		return answer{}, ctx.Err()
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
	return e.subscribe(fn, 0)
}

// subscribe is Subscribe for the batches after a number of them; it needs mu.
func (e *Engine) subscribe(fn func(Commit), after uint64) (stop func()) {
	e.next++
	id := e.next
	e.subs = append(slices.Clone(e.subs), subscriber{id: id, fn: fn, after: after})
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.subs = slices.DeleteFunc(slices.Clone(e.subs), func(s subscriber) bool { return s.id == id })
	}
}
