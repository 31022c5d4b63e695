package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/resources"
)

// DefaultListen is where programs on the node reach rules whose source is servicebus.
const DefaultListen = "127.0.0.1:9060"

// Bus is what Rules use of a *bus.Bus.
type Bus interface {
	Publish(ctx context.Context, m bus.Message) error
	Subscribe(filter string, handler bus.Handler) (stop func(), err error)
}

// Config sets up Rules. Store, Bus and Node are required.
type Config struct {
	Store meta.Store
	Bus   Bus
	Node  string // the node's name
	// Open opens a stream to the cloud; hub.Client.OpenStream is one. nil answers
	// programs on the node as while the link is down.
	Open func(ctx context.Context, m hub.Message) (hub.Stream, error)
	// Listen is where programs on the node reach rules, IP:PORT. It is open only while
	// there is such a rule. It must be loopback: whoever reaches it may use the rules. ""
	// means DefaultListen.
	Listen string
	// AllowedHosts are hosts besides this one whose services rules may call, HOST or
	// HOST:PORT. Empty: none.
	AllowedHosts []string
	// CustomMessages also sends messages on SYS/dis/upload_records, +/user/# and
	// $hw/events/upload/# to the cloud, for consumers there that are no rules.
	CustomMessages bool
	// MaxEvents is how many messages of one rule wait for the cloud, MaxBytes how many
	// bytes of all rules; one more drops the oldest of its rule. 0 means 10,000 and 64 MiB.
	MaxEvents int
	MaxBytes  int64
	// Timeout bounds one request, with its answer; 0 means 60s.
	Timeout time.Duration
	Logger  *slog.Logger // nil discards
}

// Rules is a node's half of rules. Make one with New.
type Rules struct {
	cfg     Config
	log     *slog.Logger
	queues  *manager.EventQueues
	publish publisher
	service serviceCaller
	local   localServer
	counts  counters
	started atomic.Bool

	mu    sync.Mutex
	rules map[meta.Key]*rule
}

// Stats are counts since the start.
type Stats struct {
	Rules     int    // whose source is this node
	Queued    uint64 // messages stored for the cloud
	Delivered uint64 // messages that the cloud is done with
	TooLarge  uint64 // messages over 3 MiB, which were dropped
	Dropped   uint64 // stored messages that were dropped because a bound was reached
	Waiting   int    // messages that the cloud has not acknowledged
	Published uint64 // messages from the cloud that were published
	ToPublish int    // messages from the cloud that are not published yet
	Calls     uint64 // calls of services on the node
	Requests  uint64 // requests of programs on the node
}

type counters struct{ queued, tooLarge, published, calls, requests atomic.Uint64 }

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Rules, error) {
	switch {
	case cfg.Store == nil || cfg.Bus == nil || cfg.Node == "":
		return nil, errors.New("bus/rules: Config.Store, Bus and Node are required")
	case cfg.Timeout < 0:
		return nil, errors.New("bus/rules: Config.Timeout is negative: leave it 0 for the default")
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if at, err := netip.ParseAddrPort(cfg.Listen); err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("bus/rules: Config.Listen is %q: it must be a loopback address with a port, for example %s, because clients there are not authenticated", cfg.Listen, DefaultListen)
	}
	allowed, err := parseHosts(cfg.AllowedHosts)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	queues, err := manager.NewEventQueues(manager.EventQueuesConfig{
		Store: cfg.Store, Area: queueArea, MaxEvents: cfg.MaxEvents, MaxBytes: cfg.MaxBytes, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("bus/rules: %w", err)
	}
	r := &Rules{cfg: cfg, log: cfg.Logger, queues: queues, rules: make(map[meta.Key]*rule)}
	r.publish = publisher{store: cfg.Store, bus: cfg.Bus, log: cfg.Logger, published: &r.counts.published, writing: make(chan struct{}, 1)}
	r.service = newServiceCaller(cfg, allowed, &r.counts.calls)
	r.local = newLocalServer(r)
	return r, nil
}

// The areas in the store.
const (
	area        = meta.Local + "rules/"
	queueArea   = area + "up/"      // messages for the cloud
	publishArea = area + "publish/" // messages from the cloud that are not published yet
	markArea    = area + "mark/"    // the last event of each source of the cloud
)

// Outbox is the Outbox of the messages for the cloud. manager.Outboxes joins it with the
// node's others.
func (r *Rules) Outbox() hub.Outbox { return r.queues }

// Handle has mux serve the requests that the cloud sends for rules.
func (r *Rules) Handle(mux *hub.Mux) { mux.HandleStream(resources.RuleProxy, r) }

// Stats returns the counts so far.
func (r *Rules) Stats() Stats {
	q := r.queues.Stats()
	r.mu.Lock()
	n := len(r.rules)
	r.mu.Unlock()
	r.publish.mu.Lock()
	toPublish := len(r.publish.waiting)
	r.publish.mu.Unlock()
	c := &r.counts
	return Stats{
		Rules: n, Queued: c.queued.Load(), Delivered: q.Acked, TooLarge: c.tooLarge.Load(), Dropped: q.Dropped, Waiting: q.Events,
		Published: c.published.Load(), ToPublish: toPublish, Calls: c.calls.Load(), Requests: c.requests.Load(),
	}
}

// retryPause is how long what failed is left alone.
const retryPause = time.Second

// Run follows the rules of the node until ctx ends; it then joins all that it started and
// returns nil. It returns an error when the store is closed. A second call returns
// bus.ErrStarted.
func (r *Rules) Run(ctx context.Context) error {
	if !r.started.CompareAndSwap(false, true) {
		return bus.ErrStarted
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer r.local.wait()
	defer group.Wait()
	defer cancel()
	defer r.local.close()
	defer r.stopAll()
	r.publish.begin(ctx, &group)
	defer r.publish.end()
	if err := r.addCustom(ctx, &group); err != nil {
		return err
	}
	for {
		err := r.follow(ctx, &group)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("bus/rules: %w", err)
		}
		r.log.Warn("listing rules again", "err", err)
		if !sleep(ctx, retryPause) {
			return nil
		}
	}
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
