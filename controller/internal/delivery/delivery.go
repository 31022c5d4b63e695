package delivery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/controller/internal/runguard"
	"github.com/edgekit/edgekit/hub"
)

// Times and bounds of deliveries.
const (
	retryMax = time.Minute
	// patience is how long an Append waits for its events to be taken: with a target that
	// is quick they are acknowledged at once. Behind a failing target it does not wait,
	// because all nodes share the places for work.
	patience = time.Second
	// maxDeliveries is how many sources' marks are remembered; one more forgets those that
	// are idle.
	maxDeliveries = 50_000
	// maxSending is how many sources are sent at once, maxNodeSending how many of one node:
	// the events of others wait on their nodes.
	maxSending     = 20_000
	maxNodeSending = 256
)

// Config sets up Queues. Resources and Try are required.
type Config struct {
	// Resources are those of the events that are delivered. Inbox passes others on.
	Resources []string
	// Try tries one event once. nil means that it is done with: taken, given up, or nobody's.
	// since is when it was first tried. A *SendError may say how long to wait. Events of one
	// source come one at a time, those of others at the same time.
	Try func(ctx context.Context, node string, e hub.Event, since time.Time) error
	// Consume takes the events of ConsumeResources at once, without tries: an error is the
	// answer to the node, which sends the event again.
	Consume          func(ctx context.Context, node string, e hub.Event) error
	ConsumeResources []string
	// Pending is the text for a node whose events the target has not taken yet.
	Pending string
	// Retry is the pause after a failed try; it doubles up to a minute. 0 means 1s.
	Retry time.Duration
}

// Queues delivers the events of all nodes.
type Queues struct {
	cfg     Config
	guard   runguard.Guard
	pending error // has hub bring the events again
	sending *Places
	begun   chan struct{} // closed by Run

	mu         sync.Mutex
	deliveries map[sourceKey]*delivery

	// runMu guards what Run sets. It is locked after every other mutex.
	runMu   sync.Mutex
	running context.Context // nil before Run and after it
	work    sync.WaitGroup  // deliveries; Run waits for them
}

// sourceKey names a source of a node.
type sourceKey struct{ node, source string }

// delivery sends the events of one source, one at a time.
type delivery struct {
	q    *Queues
	node string

	mu      sync.Mutex
	mark    uint64      // the last event that is done with
	pending []hub.Event // after it, in order
	busy    bool        // its goroutine runs
	failing bool        // the head was tried and not taken
	since   time.Time   // when the head was first tried
	changed chan struct{}
}

// New checks the configuration.
func New(cfg Config) (*Queues, error) {
	if len(cfg.Resources) == 0 || cfg.Try == nil || len(cfg.ConsumeResources) > 0 && cfg.Consume == nil {
		return nil, errors.New("delivery: Config.Resources and Try are required, and Consume with ConsumeResources")
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	if cfg.Pending == "" {
		cfg.Pending = "the target has not taken the event yet"
	}
	return &Queues{
		cfg: cfg, pending: &hub.Error{Code: hub.CodeUnavailable, Text: cfg.Pending},
		sending: NewPlaces(maxSending, maxNodeSending), begun: make(chan struct{}), deliveries: make(map[sourceKey]*delivery),
	}, nil
}

// Run lets events be tried until ctx ends; it then joins all tries and returns nil. It may be
// called once. Events that come before Run wait for it a moment; after it they are answered as
// while a target fails.
func (q *Queues) Run(ctx context.Context) error {
	if err := q.guard.Start(); err != nil {
		return err
	}
	q.runMu.Lock()
	q.running = ctx
	q.runMu.Unlock()
	close(q.begun)
	<-ctx.Done()
	q.runMu.Lock()
	q.running = nil // no delivery may be added once they are being joined
	q.runMu.Unlock()
	q.work.Wait()
	return nil
}

// inbox takes a node's events: those of Config, and others for next.
type inbox struct {
	q    *Queues
	node string
	next hub.Inbox
}

// Inbox returns the Inbox of a node. Events of other resources go to next, which may be nil.
func (q *Queues) Inbox(node string, next hub.Inbox) hub.Inbox {
	return &inbox{q: q, node: node, next: next}
}

// Marks yields the marks of the node's sources that this cloudcore remembers, and next's.
func (i *inbox) Marks(ctx context.Context) (iter.Seq2[string, uint64], error) {
	marks := make(map[string]uint64)
	if i.next != nil {
		others, err := i.next.Marks(ctx)
		if err != nil {
			return nil, err
		}
		marks = maps.Collect(others)
	}
	i.q.mu.Lock()
	defer i.q.mu.Unlock()
	for key, d := range i.q.deliveries {
		if key.node == i.node {
			d.mu.Lock()
			marks[key.source] = d.mark
			d.mu.Unlock()
		}
	}
	return maps.All(marks), nil
}

// Append passes events to their delivery, and returns nil when all are done with.
func (i *inbox) Append(ctx context.Context, source string, events []hub.Event) error {
	if len(events) == 0 {
		return nil
	}
	cfg := &i.q.cfg
	for _, e := range events {
		if !slices.Contains(cfg.Resources, e.Key.Resource) && !slices.Contains(cfg.ConsumeResources, e.Key.Resource) {
			if i.next == nil {
				return &hub.Error{Code: hub.CodeUnsupported, Text: fmt.Sprintf("no node may report resource %.100q", e.Key.Resource)}
			}
			return i.next.Append(ctx, source, events)
		}
	}
	d := i.q.delivery(sourceKey{i.node, source})
	if slices.Contains(cfg.ConsumeResources, events[0].Key.Resource) {
		return d.consume(ctx, events)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-i.q.begun:
	case <-timer.C:
		return i.q.pending
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	wait, last := d.offer(ctx, events)
	timer.Reset(wait)
	for {
		d.mu.Lock()
		done, changed := d.mark >= last, d.changed
		d.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return i.q.pending
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// delivery returns the delivery of a source.
func (q *Queues) delivery(key sourceKey) *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.deliveries[key]; d != nil {
		return d
	}
	if len(q.deliveries) >= maxDeliveries {
		maps.DeleteFunc(q.deliveries, func(_ sourceKey, d *delivery) bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return !d.busy
		})
	}
	d := &delivery{q: q, node: key.node, changed: make(chan struct{})}
	q.deliveries[key] = d
	return d
}

// consume passes events to Config.Consume.
func (d *delivery) consume(ctx context.Context, events []hub.Event) error {
	for _, e := range events {
		d.mu.Lock()
		done := e.ID <= d.mark
		d.mu.Unlock()
		if done {
			continue
		}
		if err := d.q.cfg.Consume(ctx, d.node, e); err != nil {
			return err
		}
		d.mu.Lock()
		d.mark = e.ID
		d.mu.Unlock()
	}
	return nil
}

// offer adds what is new to the pending events and has them sent. It returns how long to
// wait for them, and the last id.
func (d *delivery) offer(ctx context.Context, events []hub.Event) (wait time.Duration, last uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.mark
	if n := len(d.pending); n > 0 {
		known = d.pending[n-1].ID
	}
	for _, e := range events {
		if last = e.ID; e.ID > known {
			d.pending = append(d.pending, e)
		}
	}
	if len(d.pending) > 0 && !d.busy {
		q := d.q
		q.runMu.Lock()
		running := q.running
		if running != nil && running.Err() == nil && q.sending.Take(d.node) {
			d.busy = true
			q.work.Go(func() {
				defer q.sending.Free(d.node)
				d.run(running, ctx)
			})
		}
		q.runMu.Unlock()
	}
	if d.failing || !d.busy && len(d.pending) > 0 {
		if !d.busy {
			d.pending = nil // the node sends them again
		}
		return 0, last
	}
	return patience, last
}

// run sends pending events until there is none or the node's session ends. A try under
// way is finished even then, so that its event is not sent twice by this cloudcore.
func (d *delivery) run(running, session context.Context) {
	pause := d.q.cfg.Retry
	for {
		d.mu.Lock()
		if len(d.pending) == 0 || session.Err() != nil || running.Err() != nil {
			d.busy, d.pending = false, nil // the node sends what is not acknowledged again
			d.mu.Unlock()
			return
		}
		head := d.pending[0]
		if d.since.IsZero() {
			d.since = time.Now()
		}
		since := d.since
		d.mu.Unlock()
		err := d.q.cfg.Try(running, d.node, head, since)
		d.mu.Lock()
		if err == nil {
			d.mark, d.pending = head.ID, d.pending[1:]
			d.since, d.failing = time.Time{}, false
			close(d.changed)
			d.changed = make(chan struct{})
			d.mu.Unlock()
			pause = d.q.cfg.Retry
			continue
		}
		d.failing = true
		d.mu.Unlock()
		wait := pause/2 + rand.N(pause/2+1)
		if e, ok := errors.AsType[*SendError](err); ok && e.After > wait {
			wait = e.After
		}
		pause = min(2*pause, retryMax)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-session.Done():
		case <-running.Done():
		}
		timer.Stop()
	}
}
