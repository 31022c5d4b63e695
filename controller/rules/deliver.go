package rules

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// Times of deliveries.
const (
	retryMax = time.Minute
	// patience is how long an Append waits for its messages to be taken: with a target that
	// is quick they are acknowledged at once. Behind a failing target it does not wait,
	// because all nodes share the places for work.
	patience = time.Second
	// maxDeliveries is how many queues' marks are remembered; one more forgets those that
	// are idle.
	maxDeliveries = 50_000
	// maxSending is how many queues are sent at once, maxNodeSending how many of one node:
	// the messages of others wait on their nodes.
	maxSending     = 20_000
	maxNodeSending = 256
)

// deliveryKey names a queue of a node.
type deliveryKey struct{ node, source string }

// delivery sends the messages of one queue of one node, one at a time.
type delivery struct {
	c    *Controller
	node string

	mu      sync.Mutex
	mark    uint64      // the last event that is done with
	pending []hub.Event // after it, in order
	busy    bool        // its goroutine runs
	failing bool        // the head was tried and not taken
	since   time.Time   // when the head was first tried
	changed chan struct{}
}

// inbox takes a node's events: those of rules, and others for next.
type inbox struct {
	c    *Controller
	node string
	next hub.Inbox
}

// Inbox returns the Inbox of a node. Events of other resources go to next.
func (c *Controller) Inbox(node string, next hub.Inbox) hub.Inbox {
	return &inbox{c: c, node: node, next: next}
}

// Marks yields the marks of the node's queues that this cloudcore remembers, and next's.
func (i *inbox) Marks(ctx context.Context) (iter.Seq2[string, uint64], error) {
	marks := make(map[string]uint64)
	if i.next != nil {
		others, err := i.next.Marks(ctx)
		if err != nil {
			return nil, err
		}
		marks = maps.Collect(others)
	}
	i.c.mu.Lock()
	defer i.c.mu.Unlock()
	for key, d := range i.c.deliveries {
		if key.node == i.node {
			d.mu.Lock()
			marks[key.source] = d.mark
			d.mu.Unlock()
		}
	}
	return maps.All(marks), nil
}

// errPending has hub bring the events again.
var errPending = &hub.Error{Code: hub.CodeUnavailable, Text: "the target of the rule has not taken the message yet"}

// Append passes messages to their delivery, and returns nil when all are done with.
func (i *inbox) Append(ctx context.Context, source string, events []hub.Event) error {
	for _, e := range events {
		if e.Key.Resource != resources.RuleEvents && e.Key.Resource != resources.CustomMessages {
			if i.next == nil {
				return &hub.Error{Code: hub.CodeUnsupported, Text: fmt.Sprintf("no node may report resource %.100q", e.Key.Resource)}
			}
			return i.next.Append(ctx, source, events)
		}
	}
	if len(events) == 0 {
		return nil
	}
	d := i.c.delivery(deliveryKey{i.node, source})
	if events[0].Key.Resource == resources.CustomMessages {
		return d.consume(ctx, events)
	}
	wait, last := d.offer(ctx, events)
	timer := time.NewTimer(wait)
	defer timer.Stop()
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
			return errPending
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// delivery returns the delivery of a queue.
func (c *Controller) delivery(key deliveryKey) *delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.deliveries[key]; d != nil {
		return d
	}
	if len(c.deliveries) >= maxDeliveries {
		maps.DeleteFunc(c.deliveries, func(_ deliveryKey, d *delivery) bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return !d.busy
		})
	}
	d := &delivery{c: c, node: key.node, changed: make(chan struct{})}
	c.deliveries[key] = d
	return d
}

// consume passes custom messages to the program's consumer.
func (d *delivery) consume(ctx context.Context, events []hub.Event) error {
	if d.c.cfg.Messages == nil {
		return &hub.Error{Code: hub.CodeUnsupported, Text: "this cloud has no consumer of custom messages"}
	}
	for _, e := range events {
		d.mu.Lock()
		done := e.ID <= d.mark
		d.mu.Unlock()
		if done {
			continue
		}
		m, err := wire.DecodeMessage(e.Body)
		if err != nil {
			return &hub.Error{Code: hub.CodeInvalid, Text: err.Error()}
		}
		if err := d.c.cfg.Messages(ctx, d.node, m); err != nil {
			return err
		}
		d.mu.Lock()
		d.mark = e.ID
		d.mu.Unlock()
	}
	return nil
}

// offer adds what is new to the pending messages and has them sent. It returns how long to
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
		d.c.runMu.Lock()
		running := d.c.running
		if running != nil && running.Err() == nil && d.c.sending.take(d.node) {
			d.busy = true
			d.c.work.Go(func() {
				defer d.c.sending.free(d.node)
				d.run(running, ctx)
			})
		}
		d.c.runMu.Unlock()
	}
	if d.failing || !d.busy && len(d.pending) > 0 {
		if !d.busy {
			d.pending = nil // the node sends them again
		}
		return 0, last
	}
	return patience, last
}

// run sends pending messages until there is none or the node's session ends. A try under
// way is finished even then, so that its message is not sent twice by this cloudcore.
func (d *delivery) run(running, session context.Context) {
	pause := d.c.cfg.Retry
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
		err := d.try(running, head, since)
		d.mu.Lock()
		if err == nil {
			d.mark, d.pending = head.ID, d.pending[1:]
			d.since, d.failing = time.Time{}, false
			close(d.changed)
			d.changed = make(chan struct{})
			d.mu.Unlock()
			pause = d.c.cfg.Retry
			continue
		}
		d.failing = true
		d.mu.Unlock()
		wait := pause/2 + rand.N(pause/2+1)
		if e, ok := errors.AsType[*sendError](err); ok && e.after > wait {
			wait = e.after
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

// try sends one message once. nil means that it is done with: taken, given up, or nobody's.
func (d *delivery) try(ctx context.Context, e hub.Event, since time.Time) error {
	name := cache.Name{Namespace: e.Key.Namespace, Name: e.Key.Name}
	body, err := wire.DecodeMessage(e.Body)
	if err != nil {
		d.c.statuses.dropped.Add(1)
		d.c.log.Warn("a message of a node cannot be read and is dropped", "node", d.node, "rule", e.Key.String(), "err", err)
		return nil
	}
	r := d.c.rule(name)
	if r == nil || r.node() != d.node {
		mine, err := d.c.stillOf(ctx, name, d.node)
		if err != nil || mine {
			return &sendError{text: "the rule is not known yet"}
		}
		d.c.statuses.dropped.Add(1)
		d.c.log.Warn("a message of a node is dropped: it has no such rule", "node", d.node, "rule", e.Key.String())
		return nil
	}
	m := &message{Message: body, node: d.node, id: e.Source + "-" + strconv.FormatUint(e.ID, 10)}
	if r.ok() {
		err = d.c.targets.send(ctx, r, m)
	} else {
		err = &sendError{text: "the rule is not resolved: " + r.message}
	}
	switch {
	case err == nil:
		d.c.statuses.success(name, d.node)
		return nil
	case ctx.Err() != nil:
		return err
	}
	d.c.statuses.failure(name, d.node, err.Error())
	failed, ok := errors.AsType[*sendError](err)
	if ttl := r.ttl(); (!ok || !failed.final) && time.Since(since) < ttl {
		return err
	}
	d.c.statuses.dead(name, v1.DeadLetter{
		Time: metav1.Now(), Node: d.node, ID: m.id, Topic: clip(m.Topic), Bytes: int64(len(m.Payload)), Reason: clip(err.Error()),
	})
	return nil
}

// stillOf asks the API server whether a Rule is of a node.
func (c *Controller) stillOf(ctx context.Context, name cache.Name, node string) (bool, error) {
	u, err := c.ruleClient(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rule, err := cache.Decode[v1.Rule](u)
	return err == nil && string(rule.Spec.SourceResource[v1.KeyNodeName]) == node, err
}
