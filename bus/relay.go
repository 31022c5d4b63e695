package bus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrBacklog is returned in mode Both for a message that the embedded broker has and the
// outside one does not get: it does not answer, and too many messages wait for it.
var ErrBacklog = errors.New("bus: outside broker does not answer and its queue is full")

// relay is the outside transport in mode Both, and in mode External with an outbox. Nobody who
// publishes or subscribes waits for it: messages go through the bridge's gateway or through a
// queue, in their order, and a subscription that takes long is made in the background.
type relay struct {
	Transport
	bridge  *bridge      // nil: what is published comes by Publish
	queue   chan Message // of Publish; nil with a bridge
	dropped *atomic.Int64
	log     *slog.Logger

	mu    sync.Mutex
	spawn func(func()) bool // runs a function that Run waits for; nil before Run
}

func newRelay(t Transport, between *bridge, size int, dropped *atomic.Int64, log *slog.Logger) *relay {
	r := &relay{Transport: t, bridge: between, dropped: dropped, log: log}
	if between == nil {
		r.queue = make(chan Message, size)
	}
	return r
}

// Run runs the transport and what is done in the background.
func (r *relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var background sync.WaitGroup
	r.mu.Lock()
	if r.spawn != nil {
		r.mu.Unlock()
		return ErrStarted
	}
	r.spawn = func(f func()) bool {
		if ctx.Err() != nil {
			return false
		}
		background.Go(f)
		return true
	}
	if r.bridge != nil {
		r.spawn(func() { r.bridge.forward(ctx) })
	} else {
		r.spawn(func() { r.pass(ctx) })
	}
	r.mu.Unlock()
	err := r.runTransport(ctx)
	r.mu.Lock()
	r.spawn = func(func()) bool { return false }
	r.mu.Unlock()
	cancel() // the transport may have failed
	background.Wait()
	return err
}

// runTransport runs the transport. With a bridge it waits until the gateway can take what comes in.
func (r *relay) runTransport(ctx context.Context) error {
	if r.bridge == nil {
		return r.Transport.Run(ctx)
	}
	select {
	case <-r.bridge.gateway.Ready():
	case <-ctx.Done():
		return nil
	}
	defer r.bridge.subscribe(ctx)()
	return r.Transport.Run(ctx)
}

// pass publishes what is queued until ctx ends.
func (r *relay) pass(ctx context.Context) {
	for {
		select {
		case m := <-r.queue:
			if err := r.Transport.Publish(ctx, m); err != nil && ctx.Err() == nil {
				r.dropped.Add(1)
				r.log.Warn("MQTT message did not reach the outside broker", "topic", m.Topic, "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Publish queues m or returns ErrBacklog. With a bridge the Bus does not call it.
func (r *relay) Publish(_ context.Context, m Message) error {
	r.mu.Lock()
	running := r.spawn != nil
	r.mu.Unlock()
	if !running {
		return ErrNotRunning
	}
	m.Payload = append([]byte(nil), m.Payload...)
	m.Properties = append([]Property(nil), m.Properties...)
	select {
	case r.queue <- m:
		return nil
	default:
		if r.dropped.Add(1) == 1 {
			r.log.Warn("MQTT messages are dropped for the outside broker: it does not answer and the queue is full", "queue", cap(r.queue))
		}
		return ErrBacklog
	}
}

// subscribeWait is how long Subscribe waits for an outside broker that does not answer.
const subscribeWait = time.Second

// Subscribe subscribes. If the outside broker does not answer for subscribeWait, that goes
// on in the background.
func (r *relay) Subscribe(filter string, deliver func(Message)) (stop func(), err error) {
	if err := ValidateFilter(filter); err != nil {
		return nil, err
	}
	r.mu.Lock()
	if r.spawn == nil {
		defer r.mu.Unlock()
		return r.Transport.Subscribe(filter, deliver)
	}
	made, answered := make(chan func(), 1), make(chan struct{})
	ok := r.spawn(func() {
		defer close(answered)
		stop, err := r.Transport.Subscribe(filter, deliver)
		if err != nil {
			r.log.Warn("MQTT subscription failed at the outside broker", "filter", filter, "err", err)
			stop = func() {}
		}
		made <- stop
	})
	r.mu.Unlock()
	if !ok {
		return nil, ErrNotRunning
	}
	patience := time.NewTimer(subscribeWait)
	defer patience.Stop()
	select {
	case <-answered:
	case <-patience.C:
	}
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.spawn(func() { (<-made)() })
	}), nil
}

// Reconnect passes the call on to a transport that can reconnect.
func (r *relay) Reconnect() {
	if t, ok := r.Transport.(Reconnector); ok {
		t.Reconnect()
	}
}

// NotifyConnect passes the call on to a transport that can notify.
func (r *relay) NotifyConnect(connected func()) (stop func()) {
	if n, ok := r.Transport.(Notifier); ok {
		return n.NotifyConnect(connected)
	}
	return func() {}
}
