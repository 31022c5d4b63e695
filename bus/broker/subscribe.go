package broker

import (
	"slices"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/journal"
	"github.com/edgekit/edgekit/bus/internal/session"
)

// handleSubscribe adds subscriptions, answers, and sends the retained messages.
func (b *Broker) handleSubscribe(c *conn, first byte, body []byte) error {
	pk, err := decode(first, body, c.version)
	if err != nil {
		return err
	}
	if code := pk.SubscribeValidate(); code.Code != 0 { // MQTT-2.2.1-3, 3.8.3-2
		return code
	}
	ids := pk.Properties.SubscriptionIdentifier
	if len(ids) > 1 || (len(ids) == 1 && ids[0] == 0) {
		return violation("SUBSCRIBE has a wrong subscription identifier") // MQTT 5, 3.8.2.1.2
	}
	for _, f := range pk.Filters {
		if f.Qos > 2 || f.RetainHandling > 2 {
			return malformed("subscription options are wrong") // MQTT-3.8.3-5
		}
		if f.NoLocal && strings.HasPrefix(f.Filter, sharePrefix) {
			return violation("no local on a shared subscription") // MQTT-3.8.3-4
		}
	}
	allowed := make([]bool, len(pk.Filters))
	for i, f := range pk.Filters {
		_, filter := splitShare(f.Filter)
		allowed[i] = b.allows(c.user, filter, ActionSubscribe)
	}
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, ProtocolVersion: c.version, PacketID: pk.PacketID}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := c.served()
	if s == nil {
		return errTakenOver
	}
	var fresh []bool
	for i, f := range pk.Filters {
		code, isNew := b.grant(s, f, allowed[i])
		if code >= 0x80 && c.version < 5 {
			code = codeUnspecified // the only one that MQTT 3.1.1 has
		}
		ack.ReasonCodes = append(ack.ReasonCodes, code)
		fresh = append(fresh, isNew)
	}
	b.dirtySession(s)
	packet, err := encode(&ack)
	if err != nil {
		return err
	}
	b.onCommit(after{conn: c, packet: packet}, s.durable)
	for i, f := range pk.Filters {
		if ack.ReasonCodes[i] < 0x80 && (f.RetainHandling == 0 || (f.RetainHandling == 1 && fresh[i])) {
			b.sendRetained(s, f.Filter)
		}
	}
	b.pump(s)
	return nil
}

// grant adds one subscription, or says with a reason code why not.
func (b *Broker) grant(s *clientSession, f packets.Subscription, allowed bool) (code byte, fresh bool) {
	_, had := s.subs[f.Filter]
	switch {
	case bus.ValidateFilter(f.Filter) != nil:
		return codeFilter, false
	case !allowed:
		b.counters.denied.Add(1)
		return codeNotAuthorized, false
	case !had && len(s.subs) >= b.cfg.MaxSubscriptions:
		b.bound("subscriptions", "MQTT subscriptions are refused: a client has as many as allowed")
		return codeQuota, false
	}
	b.subscribe(s, f.Filter, options{qos: f.Qos, noLocal: f.NoLocal, retainAsPublished: f.RetainAsPublished, id: uint32(f.Identifier)})
	return f.Qos, !had
}

// subscribe adds a subscription of a session or replaces its options.
func (b *Broker) subscribe(s *clientSession, filter string, o options) {
	s.subs[filter] = o
	b.join(filter, subscriber{session: s}, o)
}

// unsubscribe removes a subscription of a session.
func (b *Broker) unsubscribe(s *clientSession, filter string, _ options) {
	delete(s.subs, filter)
	b.part(filter, subscriber{session: s})
}

// sharePrefix begins the filter of a shared subscription: $share/name/filter.
const sharePrefix = "$share/"

// splitShare returns the group's name and the filter of a shared subscription. The name of
// another one is empty.
func splitShare(filter string) (name, rest string) {
	if after, ok := strings.CutPrefix(filter, sharePrefix); ok {
		name, rest, _ = strings.Cut(after, "/")
		return name, rest
	}
	return "", filter
}

// join adds a subscriber under filter.
func (b *Broker) join(filter string, who subscriber, o options) {
	name, inner := splitShare(filter)
	if name == "" {
		b.tree.Add(filter, who, o)
		return
	}
	g := b.group(filter, inner)
	if g == nil {
		g = &group{}
		b.shared.Add(inner, filter, g)
	}
	i := slices.IndexFunc(g.members, func(m groupMember) bool { return m.subscriber == who })
	if i < 0 {
		g.members = append(g.members, groupMember{who, o})
	} else {
		g.members[i].options = o
	}
}

// part removes a subscriber from filter.
func (b *Broker) part(filter string, who subscriber) {
	name, inner := splitShare(filter)
	if name == "" {
		b.tree.Remove(filter, who)
		return
	}
	g := b.group(filter, inner)
	if g == nil {
		return
	}
	g.members = slices.DeleteFunc(g.members, func(m groupMember) bool { return m.subscriber == who })
	if len(g.members) == 0 {
		b.shared.Remove(inner, filter)
	}
}

// group finds the group of a shared subscription.
func (b *Broker) group(filter, inner string) *group {
	g, _ := b.shared.Get(inner, filter)
	return g
}

// sendRetained queues the retained messages for a new subscription (MQTT 5, 3.8.4). They
// take their turn in the session's queue, whatever their QoS. A shared subscription gets
// none.
func (b *Broker) sendRetained(s *clientSession, filter string) {
	o := s.subs[filter]
	if name, _ := splitShare(filter); name != "" {
		return
	}
	for _, kept := range b.retainedFor(filter) {
		if !b.allows(s.user, kept.Topic, ActionReceive) {
			continue
		}
		e := session.Entry{QoS: min(kept.QoS, o.qos), Retain: true}
		if o.id != 0 {
			e.IDs = []uint32{o.id}
		}
		m := *kept // its counters are those of this queue
		m.ID, m.Refs, m.Durable, m.Waiting, m.Written = 0, 0, 0, false, false
		seq, err := b.add(s, &m, e)
		if err != nil || !s.durable || e.QoS == 0 {
			continue
		}
		b.lastID++
		m.ID = b.lastID
		targets := []journal.Target{{Session: s.number, Seq: seq, QoS: e.QoS, Retain: true, IDs: e.IDs}}
		b.batch.messages = append(b.batch.messages, stored{message: &m, targets: targets})
		if e.QoS == 2 { // as in publish
			m.Waiting = true
			b.onCommit(after{message: &m, sessions: []*clientSession{s}}, true)
		}
	}
}

// handleUnsubscribe removes subscriptions and answers.
func (b *Broker) handleUnsubscribe(c *conn, first byte, body []byte) error {
	pk, err := decode(first, body, c.version)
	if err != nil {
		return err
	}
	if code := pk.UnsubscribeValidate(); code.Code != 0 { // MQTT-3.10.3-2
		return code
	}
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, ProtocolVersion: c.version, PacketID: pk.PacketID}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := c.served()
	if s == nil {
		return errTakenOver
	}
	for _, f := range pk.Filters {
		code := byte(codeNoSubscription)
		if o, ok := s.subs[f.Filter]; ok {
			b.unsubscribe(s, f.Filter, o)
			code = 0
		}
		if c.version == 5 {
			ack.ReasonCodes = append(ack.ReasonCodes, code)
		}
	}
	b.dirtySession(s)
	packet, err := encode(&ack)
	if err != nil {
		return err
	}
	b.onCommit(after{conn: c, packet: packet}, s.durable)
	return nil
}
