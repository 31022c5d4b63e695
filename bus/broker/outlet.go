package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/session"
)

const (
	// outletID is the client identifier of the outlet's session. No client may have it.
	outletID = "$edgekit/outside"
	// outletWindow is how many messages of QoS 1 and 2 may be under way to the outside broker.
	outletWindow = 256
	// outletQoS0 is how many messages may wait for the outside broker before those of QoS 0 are
	// dropped.
	outletQoS0 = 1024
)

// outletOptions are those of the outlet's subscriptions.
var outletOptions = options{qos: 2, noLocal: true, retainAsPublished: true}

// outlet is a session of the program: it keeps what goes to another broker as the session of
// a client keeps what goes there, and so has its bounds, its order and its records.
type outlet struct {
	filters []string
	session *clientSession // nil before Run
	active  bool           // Forward runs
	out     []session.Delivery
	wake    chan struct{} // holds one value when out has something
}

var _ bus.Gateway = (*Broker)(nil)

// Outgoing implements bus.Gateway.
func (b *Broker) Outgoing(filters []string) error {
	for _, f := range filters {
		if err := bus.ValidateFilter(f); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started.Load() || b.outlet != nil {
		return errors.New("bus/broker: Outgoing must be called once, before Run")
	}
	b.outlet = &outlet{filters: slices.Clone(filters), wake: make(chan struct{}, 1)}
	return nil
}

// openOutlet finds the outlet's session, or makes it, after the storage was read. If nothing
// goes to another broker any more, it ends the session of an earlier run.
func (b *Broker) openOutlet() {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, o := b.sessions[outletID], b.outlet
	if o == nil {
		if s != nil {
			b.log.Info("messages for an outside broker are removed: there is none any more", "messages", s.state.Len())
			b.endSession(s)
		}
		return
	}
	if s == nil {
		b.lastID++
		s = &clientSession{id: outletID, number: b.lastID, subs: make(map[string]options)}
		b.sessions[outletID] = s
		b.setExpiry(s, math.MaxUint32)
	}
	s.endsAt, s.outlet, o.session = 0, o, s // it ends with the setting
	for f, old := range s.subs {
		if !slices.Contains(o.filters, f) {
			b.unsubscribe(s, f, old)
		}
	}
	for _, f := range o.filters {
		b.subscribe(s, f, outletOptions)
	}
	b.dirtySession(s)
}

// pumpOutlet gives Forward what the window has room for.
func (b *Broker) pumpOutlet(s *clientSession) {
	o := s.outlet
	now := time.Now().UnixMilli()
	for o.active && len(o.out) < outletWindow {
		d, ok := s.state.Next(now)
		if !ok {
			break
		}
		if !d.Expired {
			o.out = append(o.out, d)
		}
		if d.Final {
			b.release(s, d.Entry)
		}
	}
	if len(o.out) > 0 {
		signal(o.wake)
	}
}

// Forward implements bus.Gateway. Only one may run at a time.
func (b *Broker) Forward(ctx context.Context, send func(context.Context, bus.Message, func()) error) error {
	select {
	case <-b.ready:
	case <-ctx.Done():
		return nil
	}
	o, err := b.beginForward()
	if err != nil {
		return err
	}
	defer b.endForward(o)
	for {
		select {
		case <-o.wake:
		case <-ctx.Done():
			return nil
		}
		b.mu.Lock()
		all := o.out
		o.out = nil
		b.mu.Unlock()
		for _, d := range all {
			m := message(d.Message, d.Retain)
			m.QoS = bus.QoS(d.QoS)
			err := send(ctx, m, func() { b.forwarded(o, d) })
			if invalid := (*bus.InvalidError)(nil); errors.As(err, &invalid) {
				b.log.Error("MQTT message cannot go to the outside broker", "topic", m.Topic, "err", err)
				b.forwarded(o, d)
			} else if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("bus/broker: %w", err)
			}
		}
		b.mu.Lock()
		b.pump(o.session)
		b.mu.Unlock()
	}
}

func (b *Broker) beginForward() (*outlet, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.outlet
	if o == nil || o.active {
		return nil, errors.New("bus/broker: Forward: call Outgoing before Run, and have one Forward run at a time")
	}
	o.active = true
	var received []uint16 // of QoS 2: the outside broker has them
	for _, e := range b.step(o.session, session.Event{Kind: session.Connected, Window: outletWindow}) {
		received = append(received, e.PID)
	}
	for _, pid := range received {
		b.step(o.session, session.Event{Kind: session.Pubcomp, PID: pid})
	}
	b.pump(o.session)
	return o, nil
}

func (b *Broker) endForward(o *outlet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o.active, o.out = false, nil
	b.step(o.session, session.Event{Kind: session.Disconnected})
}

// forwarded removes a message that the outside broker has.
func (b *Broker) forwarded(o *outlet, d session.Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := o.session
	switch d.QoS {
	case 1:
		b.step(s, session.Event{Kind: session.Puback, PID: d.PID})
	case 2:
		b.step(s, session.Event{Kind: session.Pubrec, PID: d.PID})
		b.step(s, session.Event{Kind: session.Pubcomp, PID: d.PID})
	}
	b.pump(s)
}

// Incoming implements bus.Gateway.
func (b *Broker) Incoming(ctx context.Context, m bus.Message) error {
	if err := m.Validate(); err != nil {
		return err
	}
	p := publicationOf(&m)
	p.incoming = true
	b.mu.Lock()
	if !b.running {
		b.mu.Unlock()
		return bus.ErrNotRunning
	}
	if b.outlet != nil {
		p.from = b.outlet.session // its subscriptions leave out what comes from there
	}
	b.publish(&p)
	stored := make(chan struct{})
	if b.mustWait(&p) {
		b.onCommit(after{stored: stored}, true)
	} else {
		close(stored)
	}
	b.mu.Unlock()
	select {
	case <-stored:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
