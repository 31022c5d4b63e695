package bustest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/callbacks"
	"github.com/edgekit/edgekit/bus/internal/subscriptions"
)

// Transport is a bus.Transport in memory: what is published reaches all of its
// own subscriptions, in the publisher's goroutine, and retained messages are
// kept. Its zero value is not usable; New makes one. It also is a
// bus.Notifier. All methods may be called by several goroutines at once.
type Transport struct {
	ready  chan struct{}
	notify callbacks.List

	mu       sync.Mutex
	started  bool
	running  bool
	failure  error // returned by Publish while set
	subs     subscriptions.List
	retained map[string]bus.Message
	sent     []bus.Message
}

// New makes a Transport.
func New() *Transport {
	return &Transport{ready: make(chan struct{}), retained: make(map[string]bus.Message)}
}

// Run is up until ctx ends. A second call returns bus.ErrStarted.
func (t *Transport) Run(ctx context.Context) error {
	t.mu.Lock()
	if t.started {
		t.mu.Unlock()
		return bus.ErrStarted
	}
	t.started, t.running = true, true
	t.mu.Unlock()
	t.Reconnect()
	close(t.ready)
	<-ctx.Done()
	t.mu.Lock()
	t.running = false
	t.mu.Unlock()
	return nil
}

// Ready is closed when Run has begun.
func (t *Transport) Ready() <-chan struct{} { return t.ready }

// Publish delivers m to each matching subscription before it returns.
func (t *Transport) Publish(_ context.Context, m bus.Message) error {
	t.mu.Lock()
	if err := t.failureLocked(); err != nil {
		t.mu.Unlock()
		return err
	}
	m = clone(m)
	t.sent = append(t.sent, m)
	if m.Retain {
		if len(m.Payload) == 0 {
			delete(t.retained, m.Topic)
		} else {
			t.retained[m.Topic] = m
		}
	}
	matched := t.subs.Match(m.Topic)
	t.mu.Unlock()
	for _, deliver := range matched {
		out := clone(m)
		out.Retain = false
		deliver(out)
	}
	return nil
}

// failureLocked returns the error of a Publish.
func (t *Transport) failureLocked() error {
	if !t.running {
		return bus.ErrNotRunning
	}
	return t.failure
}

// Subscribe adds a subscription and delivers the retained messages that match.
func (t *Transport) Subscribe(filter string, deliver func(bus.Message)) (func(), error) {
	if err := bus.ValidateFilter(filter); err != nil {
		return nil, err
	}
	t.mu.Lock()
	id := t.subs.Add(filter, deliver)
	var retained []bus.Message
	for _, topic := range slices.Sorted(maps.Keys(t.retained)) {
		if bus.Match(filter, topic) { // a shared subscription gets none
			retained = append(retained, clone(t.retained[topic]))
		}
	}
	t.mu.Unlock()
	for _, m := range retained {
		deliver(m)
	}
	return func() {
		t.mu.Lock()
		t.subs.Remove(id)
		t.mu.Unlock()
	}, nil
}

// NotifyConnect has connected called by Run and by Reconnect.
func (t *Transport) NotifyConnect(connected func()) (stop func()) { return t.notify.Add(connected) }

// Reconnect acts like a connection that is made again: it ends a failure set by
// Fail and notifies.
func (t *Transport) Reconnect() {
	t.mu.Lock()
	t.failure = nil
	t.mu.Unlock()
	t.notify.Call()
}

// Fail has every Publish return err until Reconnect.
func (t *Transport) Fail(err error) {
	t.mu.Lock()
	t.failure = err
	t.mu.Unlock()
}

// Sent returns all messages published since the last call, in order.
func (t *Transport) Sent() []bus.Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent := t.sent
	t.sent = nil
	return sent
}

func clone(m bus.Message) bus.Message {
	m.Payload = slices.Clone(m.Payload)
	m.Properties = slices.Clone(m.Properties)
	return m
}
