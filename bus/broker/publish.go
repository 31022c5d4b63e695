package broker

import (
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/internal/journal"
	"github.com/edgekit/edgekit/bus/internal/session"
)

// subscriber is one end of a subscription: a session or a subscription of the program.
type subscriber struct {
	session *clientSession
	program *programSub
}

// options are those of one subscription.
type options struct {
	qos               byte
	noLocal           bool
	retainAsPublished bool
	id                uint32 // subscription identifier; 0 is none
}

// group is one shared subscription: each message goes to one member.
type group struct {
	members []groupMember
	next    int
}

type groupMember struct {
	subscriber
	options
}

// publication is one message on its way to the subscribers.
type publication struct {
	session.Message                // its slices are borrowed until message is called
	from            *clientSession // nil for the program and for wills of ended sessions
	pid             uint16         // of QoS 2: the packet identifier in the session of from; else 0
	own             bool           // the program's: it goes to the outside broker
	incoming        bool           // the outside broker's: the program has it already
	owned           *session.Message

	program   []*programSub // to be called without the lock, in order
	sessions  []*clientSession
	durable   []journal.Target
	unkept    bool // it should be retained and there is no room
	delivered int
}

// message returns the message on the heap, for those who keep it.
func (p *publication) message() *session.Message {
	if p.owned == nil {
		m := p.Message
		m.Payload, m.Props = slices.Clone(m.Payload), slices.Clone(m.Props)
		m.Topic = strings.Clone(m.Topic)
		p.owned = &m
	}
	return p.owned
}

// routing collects who gets a message. It is reused for each.
type routing struct {
	round         uint64
	from          *clientSession
	targets       []target
	program       []*programSub
	groups        []*group
	collect       func(subscriber, options)
	collectShared func(string, *group)
}

type target struct {
	session *clientSession
	options
	ids []uint32
}

func (r *routing) add(to subscriber, o options) {
	s := to.session
	switch {
	case s == nil:
		r.program = append(r.program, to.program)
		return
	case o.noLocal && s == r.from:
		return
	case s.round != r.round:
		s.round, s.index = r.round, len(r.targets)
		r.targets = append(r.targets, target{session: s, options: o})
	default: // one copy with the highest QoS and all identifiers (MQTT-3.3.4-2, 3.3.4-4)
		t := &r.targets[s.index]
		t.qos = max(t.qos, o.qos)
		t.retainAsPublished = t.retainAsPublished || o.retainAsPublished
	}
	if o.id != 0 {
		t := &r.targets[s.index]
		t.ids = append(t.ids, o.id)
	}
}

func (r *routing) addShared(_ string, g *group) { r.groups = append(r.groups, g) }

// pick chooses the member of a group that gets a message: the next one whose client is
// connected and not behind, else the next one whose session takes it, else the next one.
// A member that may not receive it is left out: nobody may take away what is for others.
func (g *group) pick(b *Broker, topic string, incoming bool) (groupMember, bool) {
	best, score := -1, -1
	for i := range g.members {
		at := (g.next + i) % len(g.members)
		s, points := g.members[at].session, 0
		switch {
		case s != nil && !b.allows(s.user, topic, ActionReceive), s == nil && incoming:
			continue
		case s == nil, s.conn != nil && !s.full:
			points = 2
		case s.expiry > 0 && !s.full:
			points = 1
		}
		if points > score {
			best, score = at, points
		}
		if score == 2 {
			break
		}
	}
	if best < 0 {
		return groupMember{}, false
	}
	g.next = best + 1
	return g.members[best], true
}

// publish passes p to the sessions of all subscribers and keeps it if it is to be
// retained. It needs b.mu. The caller then calls p.program without the lock.
func (b *Broker) publish(p *publication) {
	if p.Retain {
		b.retain(p)
	}
	if p.QoS == 2 && b.cfg.Storage != nil {
		// Its sequence numbers, and so its packet identifiers, must be on the disk before
		// it is sent.
		p.message().Waiting = true
	}
	r := &b.route
	r.round++
	r.from, r.targets, r.program, r.groups = p.from, r.targets[:0], r.program[:0], r.groups[:0]
	b.tree.Match(p.Topic, r.collect)
	if p.own && b.outlet != nil {
		r.add(subscriber{session: b.outlet.session}, outletOptions)
	}
	if p.incoming {
		r.program = r.program[:0]
	}
	b.shared.Match(p.Topic, r.collectShared)
	for i := range r.targets {
		b.deliver(p, &r.targets[i])
		r.targets[i] = target{}
	}
	for _, g := range r.groups {
		m, ok := g.pick(b, p.Topic, p.incoming)
		switch {
		case !ok:
		case m.session == nil:
			r.program = append(r.program, m.subscriber.program)
		default:
			t := target{session: m.session, options: m.options}
			if m.id != 0 {
				t.ids = []uint32{m.id}
			}
			b.deliver(p, &t)
		}
	}
	p.delivered += len(r.program)
	p.program = append(p.program, r.program...)
	if len(p.durable) > 0 {
		b.lastID++
		p.owned.ID = b.lastID
		m := stored{message: p.owned, targets: p.durable}
		if p.pid != 0 {
			m.from, m.pid = p.from, p.pid
		}
		b.batch.messages = append(b.batch.messages, m)
	}
	if p.owned != nil && p.owned.Waiting {
		if len(p.sessions) > 0 {
			b.onCommit(after{message: p.owned, sessions: p.sessions}, true)
		}
		return
	}
	for _, s := range p.sessions {
		b.pump(s)
	}
}

// deliver gives p to one session.
func (b *Broker) deliver(p *publication, t *target) {
	s := t.session
	if s.outlet == nil && !b.allows(s.user, p.Topic, ActionReceive) {
		return
	}
	qos := min(p.QoS, t.qos)
	p.delivered++
	e := session.Entry{QoS: qos, Retain: p.Retain && t.retainAsPublished, IDs: t.ids}
	if qos == 0 && s.outlet == nil {
		if s.conn != nil {
			e.Message = &p.Message
			b.sendNow(s.conn, e)
		}
		return
	}
	if qos == 0 && s.state.Len() >= outletQoS0 {
		b.counters.dropped.Add(1)
		b.bound("outside", "MQTT messages of QoS 0 are dropped for the outside broker: it is slow or away")
		return
	}
	m := p.message()
	seq, err := b.add(s, m, e)
	if err != nil {
		return
	}
	p.sessions = append(p.sessions, s)
	if s.durable && qos > 0 {
		p.durable = append(p.durable, journal.Target{Session: s.number, Seq: seq, QoS: qos, Retain: e.Retain, IDs: e.IDs})
	}
}

// sendNow sends a message of QoS 0, or drops it if too many bytes wait for the client.
func (b *Broker) sendNow(c *conn, e session.Entry) {
	now := int64(0)
	if e.Message.Expires > 0 {
		now = time.Now().UnixMilli()
	}
	c.mu.Lock()
	sent := c.roomLocked() && c.publishLocked(e, 0, false, now)
	c.mu.Unlock()
	if !sent {
		b.counters.dropped.Add(1)
		b.bound("write buffer", "MQTT messages of QoS 0 are dropped for a slow client")
	}
}

// retain keeps p for later subscribers, or removes what is kept if p is empty.
func (b *Broker) retain(p *publication) {
	old, had := b.retained.Get(p.Topic)
	if len(p.Payload) == 0 {
		if had {
			b.forget(old)
		}
		return
	}
	grows := p.Size()
	if had {
		grows -= old.Size()
	}
	if (!had && b.retained.Len() >= b.cfg.MaxRetained) || (grows > 0 && b.retainedBytes+grows > b.cfg.MaxRetainedBytes) {
		p.unkept = true
		b.bound("retained", "MQTT messages are not retained: the limit is reached")
		if had { // an old value must not pass for the newest
			b.forget(old)
		}
		return
	}
	if had && old.Expires > 0 {
		b.expiring--
	}
	m := p.message()
	if m.Expires > 0 {
		b.expiring++
	}
	b.retainedBytes += grows
	b.retained.Set(m.Topic, m)
	b.dirtyRetained(m.Topic)
}

// forget removes a retained message.
func (b *Broker) forget(m *session.Message) {
	b.retained.Delete(m.Topic)
	b.retainedBytes -= m.Size()
	if m.Expires > 0 {
		b.expiring--
	}
	b.dirtyRetained(m.Topic)
}

// retainedFor returns the retained messages that match filter, without expired ones.
func (b *Broker) retainedFor(filter string) []*session.Message {
	now := time.Now().UnixMilli()
	var all, old []*session.Message
	b.retained.Match(filter, func(m *session.Message) {
		if m.Expires > 0 && now >= m.Expires {
			old = append(old, m)
		} else {
			all = append(all, m)
		}
	})
	for _, m := range old {
		b.forget(m)
	}
	slices.SortFunc(all, func(x, y *session.Message) int { return strings.Compare(x.Topic, y.Topic) })
	return all
}
