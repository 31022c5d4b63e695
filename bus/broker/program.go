package broker

import (
	"context"
	"math"
	"sync"
	"time"

	"bytes"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/session"
)

// programSub is a subscription of the program itself.
type programSub struct {
	mu      sync.Mutex // of one call of receive
	receive func(bus.Message)
}

func (s *programSub) deliver(m bus.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receive(m)
}

// Publish passes m to the sessions of all subscribers and to the program's own
// subscriptions before it returns. Config.Access does not apply to the program
// itself. What sessions keep on the disk is there soon after Publish returns, not before.
func (b *Broker) Publish(_ context.Context, m bus.Message) error {
	if err := m.Validate(); err != nil {
		return err
	}
	p := publicationOf(&m)
	p.own = true
	b.mu.Lock()
	if !b.running {
		b.mu.Unlock()
		return bus.ErrNotRunning
	}
	b.publish(&p)
	if len(p.durable) > 0 {
		b.commitSoon()
	}
	b.mu.Unlock()
	p.call()
	return nil
}

// publicationOf makes a publication of a message of the program.
func publicationOf(m *bus.Message) publication {
	p := publication{Message: session.Message{Topic: m.Topic, Payload: m.Payload, Props: writeProperties(m), QoS: byte(m.QoS), Retain: m.Retain}}
	if m.Expiry > 0 {
		p.Expires = time.Now().UnixMilli() + max(1, min(m.Expiry, math.MaxUint32*time.Second).Milliseconds())
	}
	return p
}

// Subscribe calls deliver in the goroutine of the publisher, first with the
// matching retained messages.
func (b *Broker) Subscribe(filter string, deliver func(bus.Message)) (stop func(), err error) {
	if err := bus.ValidateFilter(filter); err != nil {
		return nil, err
	}
	sub := &programSub{receive: deliver}
	who := subscriber{program: sub}
	sub.mu.Lock() // what is published from now on comes after the retained messages
	defer sub.mu.Unlock()
	b.mu.Lock()
	b.join(filter, who, options{qos: 2})
	var kept []bus.Message
	if name, _ := splitShare(filter); name == "" {
		for _, m := range b.retainedFor(filter) {
			kept = append(kept, message(m, true))
		}
	}
	b.mu.Unlock()
	for _, m := range kept {
		deliver(m)
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.part(filter, who)
	}, nil
}

// writeProperties encodes the properties of a message of the program.
func writeProperties(m *bus.Message) []byte {
	if len(m.Properties) == 0 && m.ResponseTopic == "" && m.Correlation == nil && m.ContentType == "" {
		return nil
	}
	p := packets.Properties{ContentType: m.ContentType, ResponseTopic: m.ResponseTopic, CorrelationData: m.Correlation}
	for _, u := range m.Properties {
		p.User = append(p.User, packets.UserProperty{Key: u.Key, Val: u.Value})
	}
	return encodeProperties(&p)
}

// readProperties decodes what encodeProperties wrote.
func readProperties(m *bus.Message, props []byte) {
	if len(props) == 0 {
		return
	}
	var p packets.Properties
	// encodeProperties wrote them, so they are well formed; the copy is m's own.
	_, _ = p.Decode(packets.Publish, bytes.NewBuffer(append(appendLength(nil, len(props)), props...)))
	m.ContentType, m.ResponseTopic, m.Correlation = p.ContentType, p.ResponseTopic, p.CorrelationData
	for _, u := range p.User {
		m.Properties = append(m.Properties, bus.Property{Key: u.Key, Value: u.Val})
	}
}
