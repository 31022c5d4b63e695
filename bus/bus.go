package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
)

// DefaultQueue is the number of messages that a subscription holds for its
// handler when Config.Queue is 0.
const DefaultQueue = 256

// relayQueue is the least number of messages that may wait for the outside broker in mode
// Both.
const relayQueue = 1024

// Config sets up a Bus. The transports that Mode needs are required.
type Config struct {
	Mode     Mode      // zero is Internal
	Internal Transport // the embedded broker; required for Internal and Both, else unused
	External Transport // the outside broker; required for External and Both, else unused
	Bridge   Bridge    // which messages of clients pass between the brokers in mode Both; else it must be empty
	// Outbox keeps what is published for the outside broker until that has it, in mode External,
	// where it is optional: a bus/broker without listeners, for example. Its Run is called by the
	// Bus. Nil: the External transport keeps what it can.
	Outbox Gateway
	Queue  int          // messages that each subscription holds, and in mode Both those that wait for the outside broker; 0 means DefaultQueue
	Logger *slog.Logger // nil discards
}

// Handler handles one message. ctx ends with the Bus. The message's payload and
// properties are the handler's until it returns. It must not block for long:
// see Queues in the package comment.
type Handler func(ctx context.Context, m Message)

// Bus publishes and subscribes at all its transports. All methods may be
// called by several goroutines at once.
type Bus struct {
	transports []Transport // where Subscribe subscribes
	outlets    []Transport // where Publish publishes
	runs       []Transport // what Run runs
	queue      int
	log        *slog.Logger
	ready      chan struct{}
	requests   requests
	dropped    atomic.Int64

	mu      sync.Mutex
	spawn   func(*subscription) bool // starts a subscription's goroutine; nil before Run, false after it
	subs    map[*subscription]struct{}
	workers sync.WaitGroup // goroutines of subscriptions; Run waits for them
}

// New checks cfg and allocates a Bus.
func New(cfg Config) (*Bus, error) {
	b := &Bus{queue: cfg.Queue, log: cfg.Logger, ready: make(chan struct{}), subs: make(map[*subscription]struct{})}
	switch cfg.Mode {
	case Internal:
		b.transports = []Transport{cfg.Internal}
	case External:
		b.transports = []Transport{cfg.External}
	case Both:
		b.transports = []Transport{cfg.Internal, cfg.External}
	default:
		return nil, fmt.Errorf("bus: Config.Mode is %s: use Internal, Both or External", cfg.Mode)
	}
	for _, t := range b.transports {
		if t == nil {
			return nil, fmt.Errorf("bus: mode %s needs Config.%s", cfg.Mode, missing(cfg))
		}
	}
	if b.queue < 0 {
		return nil, fmt.Errorf("bus: Config.Queue is %d: it must not be negative", cfg.Queue)
	}
	if b.queue == 0 {
		b.queue = DefaultQueue
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.outlets, b.runs = b.transports, b.transports
	if err := b.connect(cfg); err != nil {
		return nil, err
	}
	return b, nil
}

// connect sets up what goes to the outside broker.
func (b *Bus) connect(cfg Config) error {
	if cfg.Mode != Both && len(cfg.Bridge.In)+len(cfg.Bridge.Out) > 0 {
		return fmt.Errorf("bus: Config.Bridge is for mode %s: leave it empty in mode %s", Both, cfg.Mode)
	}
	inside := cfg.Internal
	switch {
	case cfg.Mode == Both:
	case cfg.Mode == External && cfg.Outbox != nil:
		inside = cfg.Outbox
	default:
		return nil
	}
	between, err := newBridge(inside, cfg.External, cfg.Bridge, b.log)
	if err != nil {
		return err
	}
	r := newRelay(cfg.External, between, max(b.queue, relayQueue), &b.dropped, b.log)
	b.transports[len(b.transports)-1] = r
	b.outlets, b.runs = b.transports, []Transport{inside, r}
	if between != nil { // what goes out takes the way through the gateway
		b.outlets = []Transport{inside}
	}
	return nil
}

func missing(cfg Config) string {
	if cfg.Mode != External && cfg.Internal == nil {
		return "Internal"
	}
	return "External"
}

// Run runs the transports and the handlers until ctx ends or one transport
// fails, which ends the other. A second call returns ErrStarted.
func (b *Bus) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := b.startHandlers(ctx); err != nil {
		return err
	}
	var group sync.WaitGroup
	var failed sync.Once
	var failure error
	for _, t := range b.runs {
		group.Go(func() {
			if err := t.Run(ctx); err != nil && ctx.Err() == nil {
				failed.Do(func() { failure = err })
				cancel(err)
			}
		})
	}
	group.Go(func() {
		for _, t := range b.runs {
			select {
			case <-t.Ready():
			case <-ctx.Done():
				return
			}
		}
		close(b.ready)
	})
	group.Wait()
	cancel(nil)
	b.mu.Lock()
	b.mu.Unlock() //nolint:staticcheck // waits until every Subscribe before the cancel has started its goroutine
	b.workers.Wait()
	if failure != nil {
		return fmt.Errorf("bus: %w", failure)
	}
	return nil
}

// startHandlers starts the handlers of the subscriptions made before Run.
func (b *Bus) startHandlers(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spawn != nil {
		return ErrStarted
	}
	b.spawn = func(s *subscription) bool {
		if ctx.Err() != nil {
			return false
		}
		b.workers.Go(func() { s.run(ctx) })
		return true
	}
	for s := range b.subs {
		b.spawn(s)
	}
	return nil
}

// Ready is closed when every transport has been ready once. In modes External and
// Both that waits for the outside broker.
func (b *Bus) Ready() <-chan struct{} { return b.ready }

// Publish publishes m at every transport. It returns an *InvalidError, the joined
// errors of the transports, or nil when all have accepted m. In mode Both it does not wait
// for the outside broker: a Gateway keeps m for it. Without one ErrBacklog says that only
// the outside broker does not get m.
func (b *Bus) Publish(ctx context.Context, m Message) error {
	if err := m.Validate(); err != nil {
		return err
	}
	var errs []error
	for _, t := range b.outlets {
		if err := t.Publish(ctx, m); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("bus: publish to %s: %w", m.Topic, errors.Join(errs...))
	}
	return nil
}

// Subscribe calls handler with each message whose topic matches filter, from every
// transport, until stop is called or Run ends. It may be called before
// Run and at any time in it. A handler may stop its own
// subscription: one call of handler may still run when stop returns.
func (b *Bus) Subscribe(filter string, handler Handler) (stop func(), err error) {
	if err := ValidateFilter(filter); err != nil {
		return nil, err
	}
	if handler == nil {
		return nil, errors.New("bus: Subscribe needs a handler")
	}
	s := &subscription{handler: handler, queue: make(chan Message, b.queue), done: make(chan struct{}), ended: make(chan struct{})}
	b.mu.Lock()
	if b.spawn != nil && !b.spawn(s) {
		b.mu.Unlock()
		return nil, ErrNotRunning
	}
	b.subs[s] = struct{}{}
	b.mu.Unlock()

	stops := make([]func(), 0, len(b.transports))
	var once sync.Once
	stop = func() {
		once.Do(func() {
			close(s.done) // first, to release a transport that is blocked in deliver
			for _, f := range stops {
				f()
			}
			b.mu.Lock()
			delete(b.subs, s)
			b.mu.Unlock()
		})
	}
	for _, t := range b.transports {
		f, err := t.Subscribe(filter, s.deliver)
		if err != nil {
			stop()
			return nil, fmt.Errorf("bus: subscribe to %s: %w", filter, err)
		}
		stops = append(stops, f)
	}
	return stop, nil
}

// NotifyConnect calls connected each time a transport has connected to its outside
// broker and made all subscriptions there, until stop is called. connected must
// not block. With an embedded broker alone it is never called: that broker is
// there from Ready on.
func (b *Bus) NotifyConnect(connected func()) (stop func()) {
	var stops []func()
	for _, t := range b.transports {
		if n, ok := t.(Notifier); ok {
			stops = append(stops, n.NotifyConnect(connected))
		}
	}
	return func() {
		for _, f := range stops {
			f()
		}
	}
}

// Reconnect gives up the connections to outside brokers and has new ones made, with all
// subscriptions: for a user who gets no answers although the connection is there. It does not
// wait. An embedded broker alone has no connection.
func (b *Bus) Reconnect() {
	for _, t := range b.transports {
		if r, ok := t.(Reconnector); ok {
			r.Reconnect()
		}
	}
}

// Stats are counters since the start.
type Stats struct {
	Dropped int64 // messages that the outside broker did not get in mode Both; a Gateway has counters of its own
}

// Stats returns the Bus's counters.
func (b *Bus) Stats() Stats { return Stats{Dropped: b.dropped.Load()} }

// subscription is one Subscribe: a queue that the transports fill, and one
// goroutine that reads it.
type subscription struct {
	handler Handler
	queue   chan Message
	done    chan struct{} // closed by stop
	ended   chan struct{} // closed when its goroutine has ended
}

// deliver waits for space in the queue, unless the subscription or the Bus has
// ended.
func (s *subscription) deliver(m Message) {
	select {
	case <-s.done:
		return // nothing is queued after stop, even if there is space
	default:
	}
	select {
	case s.queue <- m:
	case <-s.done:
	case <-s.ended:
	}
}

func (s *subscription) run(ctx context.Context) {
	defer close(s.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.done:
			return
		case m := <-s.queue:
			s.handler(ctx, m)
		}
	}
}
