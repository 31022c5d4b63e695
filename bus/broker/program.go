package broker

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/session"
)

// programSub is a subscription of the program itself.
type programSub struct {
	mu      sync.Mutex // of one call of receive
	receive func(bus.Message)
	stopped atomic.Bool // what is still on its way is not for it
}

func (s *programSub) deliver(m bus.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped.Load() {
		s.receive(m)
	}
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
		sub.stopped.Store(true)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.part(filter, who)
	}, nil
}

// writeProperties encodes the properties of a message of the program, as encodeProperties does.
func writeProperties(m *bus.Message) []byte {
	size := 0
	for _, n := range []int{len(m.ContentType), len(m.ResponseTopic)} {
		if n > 0 {
			size += 3 + n
		}
	}
	if m.Correlation != nil {
		size += 3 + len(m.Correlation)
	}
	for _, u := range m.Properties {
		size += 5 + len(u.Key) + len(u.Value)
	}
	if size == 0 {
		return nil
	}
	b := make([]byte, 0, size)
	if m.ContentType != "" {
		b = appendText(append(b, packets.PropContentType), m.ContentType)
	}
	if m.ResponseTopic != "" {
		b = appendText(append(b, packets.PropResponseTopic), m.ResponseTopic)
	}
	if m.Correlation != nil {
		b = binary.BigEndian.AppendUint16(append(b, packets.PropCorrelationData), uint16(len(m.Correlation)))
		b = append(b, m.Correlation...)
	}
	for _, u := range m.Properties {
		b = appendText(appendText(append(b, packets.PropUser), u.Key), u.Value)
	}
	return b
}

// readProperties decodes what encodeProperties wrote, which is well formed. The result keeps
// nothing of props.
func readProperties(m *bus.Message, props []byte) {
	for len(props) > 1 {
		id := props[0]
		if id == packets.PropPayloadFormat {
			props = props[2:]
			continue
		}
		value, rest, err := field(props[1:])
		if err != nil {
			return
		}
		switch id {
		case packets.PropContentType:
			m.ContentType = string(value)
		case packets.PropResponseTopic:
			m.ResponseTopic = string(value)
		case packets.PropCorrelationData:
			m.Correlation = append([]byte{}, value...)
		case packets.PropUser:
			key := string(value)
			if value, rest, err = field(rest); err != nil {
				return
			}
			m.Properties = append(m.Properties, bus.Property{Key: key, Value: string(value)})
		}
		props = rest
	}
}
