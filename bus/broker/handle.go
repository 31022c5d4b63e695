package broker

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/session"
)

// mayPublish reports whether a client may publish on a topic, or have another publish there
// for it: the response topic of a request must be one of its own, or it could have whoever
// answers write where it may not.
func (b *Broker) mayPublish(user User, topic string) bool {
	return !reserved(topic) && b.allows(user, topic, ActionPublish)
}

// allows asks Config.Access; without one, everything is allowed.
func (b *Broker) allows(user User, topic string, action Action) bool {
	return b.cfg.Access == nil || b.cfg.Access.Allow(user, topic, action)
}

// handlePublish passes on a message of a client and acknowledges it.
func (b *Broker) handlePublish(c *conn, first byte, body []byte) error {
	in, err := decodePublish(first, body, c.version)
	if err != nil {
		return err
	}
	topic, err := c.resolve(&in)
	if err != nil {
		return err
	}
	b.counters.received.Add(1)
	code := byte(0)
	if !b.mayPublish(c.user, topic) || (in.response != "" && !b.mayPublish(c.user, in.response)) {
		code = codeNotAuthorized
		b.counters.denied.Add(1)
	}
	p := publication{Message: session.Message{Topic: topic, Payload: in.payload, Props: in.props, QoS: in.qos, Retain: in.retain}}
	if in.expiry > 0 {
		p.Expires = time.Now().UnixMilli() + int64(in.expiry)*1000
	}
	b.mu.Lock()
	if p.from = c.served(); p.from == nil {
		b.mu.Unlock()
		return errTakenOver
	}
	switch in.qos {
	case 0:
		if code == 0 {
			b.publish(&p)
		}
	case 1:
		if code == 0 {
			b.publish(&p)
		}
		b.onCommit(after{conn: c, kind: packets.Puback, pid: in.pid, code: c.ackCode(code, &p)}, b.mustWait(&p))
	case 2:
		err = b.publish2(c, &in, &p, code)
	}
	now := b.toProgram(c, p.from, &p)
	for c.unsettled >= b.cfg.MaxInflight && c.session != nil && b.running {
		b.committed.Wait() // the client gets no faster than the disk
	}
	b.mu.Unlock()
	b.call(now)
	return err
}

// errTakenOver ends the reader of a connection that has no session any more; see conn.served.
var errTakenOver = errors.New("session was taken over")

// mustWait reports whether a message may be acknowledged only after the next commit.
func (b *Broker) mustWait(p *publication) bool {
	return b.cfg.Storage != nil && (len(p.durable) > 0 || p.Retain)
}

// ackCode is the reason code of an acknowledgement.
func (c *conn) ackCode(code byte, p *publication) byte {
	switch {
	case code != 0:
		return code
	case p.unkept:
		return codeQuota
	case p.delivered == 0:
		return packets.CodeNoMatchingSubscribers.Code
	}
	return 0
}

// publish2 handles a PUBLISH of QoS 2. The message is passed on once, and only after it
// and its identifier are on the disk.
func (b *Broker) publish2(c *conn, in *inPublish, p *publication, code byte) error {
	s := c.session
	for _, e := range b.step(s, session.Event{Kind: session.Publish2, PID: in.pid}) {
		if e.Kind == session.SendPubrec { // it was received before
			b.onCommit(after{conn: c, kind: packets.Pubrec, pid: in.pid}, s.durable)
			continue
		}
		if code != 0 && c.version == 5 { // MQTT 3 cannot say no
			b.step(s, session.Event{Kind: session.Refused2, PID: in.pid})
			b.onCommit(after{conn: c, kind: packets.Pubrec, pid: in.pid, code: code}, false)
			continue
		}
		if s.state.Inbound() > b.cfg.MaxInflight && c.version == 5 {
			return &packetError{codeReceiveMaximum, "client has more messages in flight than the receive maximum"} // MQTT-3.3.4-9
		}
		b.dirtyCursor(s)
		if code == 0 {
			p.pid = in.pid
			b.publish(p)
		}
		if code = c.ackCode(0, p); code >= 0x80 {
			code = 0 // an error would end the exchange, and the message is passed on
		}
		b.onCommit(after{conn: c, kind: packets.Pubrec, pid: in.pid, code: code}, s.durable || b.mustWait(p))
	}
	return nil
}

// resolve returns the topic of a PUBLISH, and keeps or looks up its alias.
func (c *conn) resolve(in *inPublish) (string, error) {
	if in.alias > aliases {
		return "", &packetError{codeTopicAlias, "topic alias is above the maximum"} // MQTT-3.3.2-9
	}
	if len(in.topic) == 0 && in.alias > 0 {
		if int(in.alias) > len(c.known) || c.known[in.alias-1] == "" {
			return "", violation("topic alias is not known") // MQTT 5, 3.3.2.3.4
		}
		return c.known[in.alias-1], nil
	}
	if string(in.topic) != c.topic || c.topic == "" {
		if err := checkTopic(in.topic); err != nil {
			return "", err
		}
		c.topic = string(in.topic)
	}
	if in.alias > 0 {
		for len(c.known) < int(in.alias) {
			c.known = append(c.known, "")
		}
		c.known[in.alias-1] = c.topic
	}
	return c.topic, nil
}

// handleAck handles what a client says about a message in flight.
func (b *Broker) handleAck(c *conn, first byte, body []byte) error {
	kind := first >> 4
	want := byte(0)
	if kind == packets.Pubrel {
		want = 2
	}
	if first&15 != want || len(body) < 2 || (c.version < 5 && len(body) > 2) {
		return malformed("an acknowledgement is malformed")
	}
	ev := session.Event{PID: binary.BigEndian.Uint16(body)}
	if len(body) > 2 {
		ev.Code = body[2]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := c.served()
	if s == nil {
		return errTakenOver
	}
	switch kind {
	case packets.Puback:
		ev.Kind = session.Puback
	case packets.Pubrec:
		ev.Kind = session.Pubrec
	case packets.Pubrel:
		ev.Kind = session.Pubrel
	default:
		ev.Kind = session.Pubcomp
	}
	for _, e := range b.step(s, ev) {
		answer := after{conn: c, pid: e.PID, code: e.Code, kind: packets.Pubrel}
		if e.Kind == session.SendPubcomp {
			answer.kind = packets.Pubcomp
		}
		// The other side forgets the identifier when it has the answer, so what it stands
		// for must be on the disk before.
		b.dirtyCursor(s)
		b.onCommit(answer, s.durable)
	}
	b.pump(s)
	return nil
}

// message copies a message, which others share, for the program.
func message(m *session.Message, retained bool) bus.Message {
	out := bus.Message{Topic: m.Topic, QoS: bus.QoS(m.QoS), Retain: retained}
	out.Payload = append([]byte(nil), m.Payload...)
	readProperties(&out, m.Props)
	if m.Expires > 0 {
		out.Expiry = max(time.Second, time.Until(time.UnixMilli(m.Expires)).Round(time.Second))
	}
	return out
}
