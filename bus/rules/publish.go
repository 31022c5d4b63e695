package rules

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
)

// Bounds of what waits to be published: that is much only while the broker is away.
const (
	maxPublish      = 10_000
	maxPublishBytes = 32 << 20
)

// errPublishFull is returned when so much waits to be published.
var errPublishFull = errors.New("bus/rules: too many messages wait for the node's MQTT broker")

// publisher stores messages from the cloud and publishes them in order.
type publisher struct {
	store     meta.Store
	bus       Bus
	log       *slog.Logger
	published *atomic.Uint64
	writing   chan struct{} // holds a value while a batch is stored, which keeps the order

	mu      sync.Mutex
	loaded  bool
	last    uint64 // the last number that was given
	waiting []stored
	bytes   int
	running bool // drain runs
	spawn   func()
}

// stored is one record that waits.
type stored struct {
	number uint64
	size   int
}

func publishKey(number uint64) string { return fmt.Sprintf("%s%020d", publishArea, number) }

// begin lets drain run in group until ctx ends, and publishes what an earlier run left.
func (p *publisher) begin(ctx context.Context, group *sync.WaitGroup) {
	if err := p.load(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("messages from the cloud that are not published yet cannot be read", "err", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spawn = func() { group.Go(func() { p.drain(ctx) }) }
	p.startLocked()
}

// end forbids new goroutines.
func (p *publisher) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spawn = nil
}

// startLocked starts drain if something waits. It needs mu.
func (p *publisher) startLocked() {
	if p.spawn != nil && !p.running && len(p.waiting) > 0 {
		p.running = true
		p.spawn()
	}
}

func (p *publisher) load(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded {
		return nil
	}
	view, err := p.store.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer view.Close()
	p.waiting, p.bytes, p.last = nil, 0, 0
	for r, err := range view.Records(ctx, publishArea) {
		if err != nil {
			return err
		}
		if number, err := strconv.ParseUint(strings.TrimPrefix(r.Key, publishArea), 10, 64); err == nil {
			p.waiting, p.bytes, p.last = append(p.waiting, stored{number, len(r.Value)}), p.bytes+len(r.Value), number
		}
	}
	p.loaded = true
	return nil
}

// add stores messages, with further changes of the store, in one step. They are durable
// when it returns.
func (p *publisher) add(ctx context.Context, messages [][]byte, more ...meta.Op) error {
	if err := p.load(ctx); err != nil {
		return err
	}
	select {
	case p.writing <- struct{}{}:
		defer func() { <-p.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.mu.Lock()
	number, full := p.last, len(p.waiting)+len(messages) > maxPublish || p.bytes > maxPublishBytes
	p.mu.Unlock()
	if full && len(messages) > 0 {
		return errPublishFull
	}
	var list []stored
	ops := more
	for _, m := range messages {
		number++
		list = append(list, stored{number, len(m)})
		ops = append(ops, meta.Op{Key: publishKey(number), Value: m})
	}
	if _, err := p.store.Apply(ctx, ops...); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.waiting = number, append(p.waiting, list...)
	for _, s := range list {
		p.bytes += s.size
	}
	p.startLocked()
	return nil
}

// maxPause is the longest pause while the broker takes nothing.
const maxPause = 30 * time.Second

// drain publishes until nothing waits or ctx ends.
func (p *publisher) drain(ctx context.Context) {
	pause := retryPause
	for {
		p.mu.Lock()
		if len(p.waiting) == 0 || ctx.Err() != nil {
			p.running = false
			p.mu.Unlock()
			return
		}
		head := p.waiting[0]
		p.mu.Unlock()
		if err := p.publishOne(ctx, head.number); err != nil {
			if pause == retryPause && ctx.Err() == nil {
				p.log.Warn("a message from the cloud cannot be published yet", "err", err)
			}
			sleep(ctx, pause)
			pause = min(2*pause, maxPause)
			continue
		}
		pause = retryPause
		p.mu.Lock()
		p.waiting, p.bytes = p.waiting[1:], p.bytes-head.size
		if len(p.waiting) == 0 {
			p.waiting = nil
		}
		p.mu.Unlock()
	}
}

// publishOne publishes one stored message and removes it. One that can never be published
// is removed and logged.
func (p *publisher) publishOne(ctx context.Context, number uint64) error {
	key := publishKey(number)
	r, err := p.store.Get(ctx, key)
	if errors.Is(err, meta.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := wire.DecodeMessage(r.Value)
	if err == nil {
		err = wire.PublishTopic(m.Topic)
	}
	if err == nil {
		err = p.bus.Publish(ctx, bus.Message{Topic: m.Topic, Payload: m.Payload, ContentType: m.ContentType, QoS: bus.AtLeastOnce})
		if _, invalid := errors.AsType[*bus.InvalidError](err); err != nil && !invalid && !errors.Is(err, bus.ErrBacklog) {
			return err
		}
	}
	if err != nil {
		p.log.Warn("a message from the cloud was not published everywhere", "topic", m.Topic, "err", err)
	} else {
		p.published.Add(1)
	}
	_, err = p.store.Apply(ctx, meta.Op{Key: key, Delete: true})
	return err
}

// inbox takes messages that waited in the cloud for this node.
type inbox struct{ r *Rules }

var _ hub.Inbox = (*inbox)(nil)

// Inbox is the Inbox of messages that waited in the cloud while this node was away.
func (r *Rules) Inbox() hub.Inbox { return &inbox{r} }

// Marks yields the marks in the store.
func (i *inbox) Marks(ctx context.Context) (iter.Seq2[string, uint64], error) {
	records, _, err := i.r.cfg.Store.List(ctx, markArea)
	if err != nil {
		return nil, fmt.Errorf("bus/rules: %w", err)
	}
	return func(yield func(string, uint64) bool) {
		for _, rec := range records {
			source, err1 := url.PathUnescape(strings.TrimPrefix(rec.Key, markArea))
			id, err2 := strconv.ParseUint(string(rec.Value), 10, 64)
			if err1 == nil && err2 == nil && !yield(source, id) {
				return
			}
		}
	}, nil
}

// Append stores the messages and the mark of the last in one step.
func (i *inbox) Append(ctx context.Context, source string, events []hub.Event) error {
	var messages [][]byte
	for _, e := range events {
		if e.Key.Resource != resources.RuleEvents {
			return &hub.Error{Code: hub.CodeUnsupported, Text: fmt.Sprintf("this node takes no events of resource %.100q", e.Key.Resource)}
		}
		m, err := wire.DecodeMessage(e.Body)
		if err == nil {
			err = wire.PublishTopic(m.Topic)
		}
		if err != nil {
			return &hub.Error{Code: hub.CodeInvalid, Text: err.Error()}
		}
		messages = append(messages, e.Body)
	}
	if len(events) == 0 {
		return nil
	}
	key := markArea + url.PathEscape(source)
	if len(key) > meta.MaxKey {
		return &hub.Error{Code: hub.CodeInvalid, Text: "the source's name is too long"}
	}
	mark := strconv.FormatUint(events[len(events)-1].ID, 10)
	if err := i.r.publish.add(ctx, messages, meta.Op{Key: key, Value: []byte(mark)}); err != nil {
		return fmt.Errorf("bus/rules: %w", err)
	}
	return nil
}
