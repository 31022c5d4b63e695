package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/latest"
)

// Caller asks the cloud; a hub client is one. It returns an error that wraps a
// *hub.Error when the cloud itself refused.
type Caller interface {
	// Call sends a query and waits for its response.
	Call(ctx context.Context, query hub.Message) (hub.Message, error)
}

// CallerFunc makes a function a Caller. A hub.Client is a Caller; it gets the
// Manager's endpoints when it runs:
//
//	link, err := hub.NewClient(...)
//	m, err := manager.New(manager.Config{Caller: link, ...})
//	err = link.Serve(ctx, hub.Endpoints{Down: m.Down(), Up: m.StateOutbox(), Outbox: m.EventOutbox()})
type CallerFunc func(ctx context.Context, query hub.Message) (hub.Message, error)

// Call calls f.
func (f CallerFunc) Call(ctx context.Context, query hub.Message) (hub.Message, error) {
	return f(ctx, query)
}

// Config sets up a Manager. Store and Node are required.
type Config struct {
	Store  meta.Store
	Caller Caller // asks the cloud; nil: every query is answered from the store
	Node   string // the node's name
	// Fresh is how long a cached answer of the cloud is used without asking again
	// while connected. 0 means 1 minute, negative always asks. Objects in the Down
	// area are always fresh, because the link keeps them up to date.
	Fresh time.Duration
	// CallTimeout bounds one question to the cloud; 0 means 10 s.
	CallTimeout time.Duration
	// MaxEvents is how many events wait in the outbox; one more drops the
	// oldest. 0 means 1,000.
	MaxEvents int
	// MaxState is how many objects the outbox of state holds. A report about a
	// further object fails with ErrOutboxFull. A newer report about an object in
	// the outbox is always accepted. 0 means 10,000.
	MaxState int
	Logger   *slog.Logger     // nil discards
	Now      func() time.Time // nil means time.Now
}

// ErrOffline is returned by Query when the cloud cannot be asked and the store
// has no answer.
var ErrOffline = errors.New("meta/manager: the cloud is out of reach")

// ErrOutboxFull is returned by Insert, Update and Delete when the outbox holds
// Config.MaxState objects already. Room returns when the cloud acknowledges
// deletions, and reports about objects that were deleted.
var ErrOutboxFull = errors.New("meta/manager: outbox of state is full")

// cacheArea holds answers of the cloud to queries, connectionKey the last known
// state of the link.
const (
	cacheArea     = meta.Local + "manager/answers/"
	connectionKey = meta.Local + "manager/connection"
)

// Manager is MetaManager. Make one with New.
type Manager struct {
	cfg   Config
	store meta.Store
	log   *slog.Logger

	up   StateOutbox
	down sink
	link latest.Topic[hub.Info]
	// events and state are the outbox's two kinds.
	events EventOutbox
	state  stateCount
	// linkMu makes NodeConnection store the states in the order of its calls.
	linkMu sync.Mutex
	// linkAt is the store's revision at which the last change of the link was
	// stored; 0 while it is not.
	linkAt atomic.Uint64

	stats   counters
	started atomic.Bool // Run was called
}

// Stats are the metrics of a Manager. Counts start when it is made.
type Stats struct {
	EventsWaiting int    // not acknowledged
	EventsDropped uint64 // because Config.MaxEvents were waiting
	StateRefused  uint64 // reports refused because the outbox held Config.MaxState objects
	QueriesLocal  uint64 // queries answered by the store
	QueriesCloud  uint64 // queries answered by the cloud
	QueriesStale  uint64 // of QueriesLocal: answered with an old object because the cloud did not answer
}

type counters struct {
	eventsDropped, stateRefused, local, cloud, stale atomic.Uint64
}

// New checks the configuration. It does no I/O; Run does.
func New(cfg Config) (*Manager, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("meta/manager: Config.Store is required")
	case cfg.Node == "":
		return nil, errors.New("meta/manager: Config.Node is required: the node's name")
	case cfg.MaxEvents < 0 || cfg.MaxState < 0:
		return nil, errors.New("meta/manager: Config.MaxEvents or MaxState is negative: leave it 0 for the default")
	}
	if cfg.Fresh == 0 {
		cfg.Fresh = time.Minute
	}
	if cfg.CallTimeout == 0 {
		cfg.CallTimeout = 10 * time.Second
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = 1000
	}
	if cfg.MaxState == 0 {
		cfg.MaxState = 10_000
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	m := &Manager{cfg: cfg, store: cfg.Store, log: cfg.Logger}
	m.up = StateOutbox{m: m, loaded: make(map[meta.Key]uint64), unstored: make(inMemory)}
	m.down = sink{m: m}
	m.events = EventOutbox{m: m, writing: make(chan struct{}, 1)}
	m.link.Publish(hub.Info{Node: cfg.Node, Reason: "not connected since the start"})
	return m, nil
}

// Run follows the store and notifies the link of new reports until ctx ends; it then
// returns nil. It returns an error when the store fails. A second call returns
// meta.ErrStarted.
func (m *Manager) Run(ctx context.Context) error {
	if !m.started.CompareAndSwap(false, true) {
		return meta.ErrStarted
	}
	err := m.loadConnection(ctx)
	for err == nil && ctx.Err() == nil {
		err = m.up.follow(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("meta/manager: %w", err)
}

// Down is the Sink for the objects that the cloud wants on this node.
func (m *Manager) Down() hub.Sink { return &m.down }

// StateOutbox is the Source of this node's reports. It serves one session at a time.
func (m *Manager) StateOutbox() *StateOutbox { return &m.up }

// EventOutbox is the Outbox of this node's events.
func (m *Manager) EventOutbox() *EventOutbox { return &m.events }

// Stats returns the counts so far.
func (m *Manager) Stats() Stats {
	c := &m.stats
	return Stats{
		EventsWaiting: m.events.waiting(), EventsDropped: c.eventsDropped.Load(), StateRefused: c.stateRefused.Load(),
		QueriesLocal: c.local.Load(), QueriesCloud: c.cloud.Load(), QueriesStale: c.stale.Load(),
	}
}

// invalid is the error for an object that can never be stored; the caller must not retry.
func invalid(k meta.Key, reason string) error {
	return &hub.Error{Code: hub.CodeInvalid, Text: k.String() + ": " + reason}
}
