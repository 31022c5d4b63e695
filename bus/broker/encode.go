package broker

import (
	"maps"
	"slices"

	"github.com/edgekit/edgekit/bus/internal/journal"
	"github.com/edgekit/edgekit/bus/internal/session"
)

// maxApply is how many bytes a Storage gets at once that is not Bounded.
const maxApply = 4 << 20

// parts are the records of a batch, cut so that the storage writes each part in one step. A crash
// between two parts must not have a message of QoS 2 published twice: the part that has the
// message also has the cursor of its publisher's session, with the packet identifiers of the
// messages that are written by then. So if the publisher sends it again, it is known.
type parts struct {
	limit   int
	all     [][]Record
	size    int                                    // of the last part in bytes
	senders map[*clientSession]struct{}            // of the messages of QoS 2 in the last part
	later   map[*clientSession]map[uint16]struct{} // the identifiers of messages of QoS 2 in later parts
}

// encode makes the records of the batch.
func (b *Broker) encode() [][]Record {
	if b.cfg.Storage == nil {
		return nil
	}
	t := &b.batch
	w := parts{limit: maxApply}
	if s, ok := b.cfg.Storage.(Bounded); ok {
		w.limit = s.MaxApply()
	}
	for s := range t.sessions { // before the cursors, which count only with them
		w.add(Record{numbered(sessionPrefix, s.number), s.record().Encode()})
	}
	for _, m := range t.messages {
		w.expect(m)
	}
	for _, m := range t.messages {
		w.message(m)
	}
	current := maps.Clone(w.senders) // whose cursors are in the last part as they are now
	w.flush()
	for s := range t.cursors {
		if _, ok := current[s]; ok {
			continue
		}
		w.add(Record{numbered(cursorPrefix, s.number), journal.EncodeCursor(s.state.Cursor())})
	}
	for topic := range t.retained {
		r := Record{Key: retainedKey(topic)}
		if m, ok := b.retained.Get(topic); ok {
			r.Value = encodeMessage(m, nil)
		}
		w.add(r)
	}
	for _, key := range t.removed { // after all that makes them superfluous
		w.add(Record{Key: key})
	}
	return w.all
}

// room begins a new part if the last one has no room for size bytes.
func (w *parts) room(size int) {
	if len(w.all) == 0 || (w.size > 0 && w.size+size > w.limit) {
		w.flush()
		w.all, w.size = append(w.all, nil), 0
	}
}

// add appends a record.
func (w *parts) add(r Record) {
	w.room(len(r.Key) + len(r.Value))
	w.append(r)
}

func (w *parts) append(r Record) {
	last := len(w.all) - 1
	w.all[last] = append(w.all[last], r)
	w.size += len(r.Key) + len(r.Value)
}

// expect notes that a message comes.
func (w *parts) expect(m stored) {
	if m.from == nil || !m.from.durable {
		return
	}
	if w.later == nil {
		w.later, w.senders = make(map[*clientSession]map[uint16]struct{}), make(map[*clientSession]struct{})
	}
	if w.later[m.from] == nil {
		w.later[m.from] = make(map[uint16]struct{})
	}
	w.later[m.from][m.pid] = struct{}{}
}

// message appends a message, unless all have acknowledged it meanwhile.
func (w *parts) message(m stored) {
	if m.message.Durable == 0 {
		delete(w.later[m.from], m.pid)
		return
	}
	m.message.Written = true
	w.add(Record{messageKey(m.message.ID), encodeMessage(m.message, m.targets)})
	if w.later[m.from] != nil {
		delete(w.later[m.from], m.pid)
		w.senders[m.from] = struct{}{}
	}
}

// flush completes the last part: it gets the cursors of the sessions whose messages it has.
func (w *parts) flush() {
	for s := range w.senders {
		c := s.state.Cursor()
		c.Inbound = slices.DeleteFunc(c.Inbound, func(pid uint16) bool { _, later := w.later[s][pid]; return later })
		w.append(Record{numbered(cursorPrefix, s.number), journal.EncodeCursor(c)})
	}
	clear(w.senders)
}

func encodeMessage(m *session.Message, targets []journal.Target) []byte {
	return journal.Message{
		Topic: m.Topic, Payload: m.Payload, Props: m.Props, Expires: m.Expires, QoS: m.QoS, Retain: m.Retain, Targets: targets,
	}.Encode()
}

// record is the session without its messages.
func (s *clientSession) record() journal.Session {
	r := journal.Session{Number: s.number, ClientID: s.id, User: s.user.Name, Expiry: s.expiry, Left: s.left, Will: s.will}
	for filter, o := range s.subs {
		r.Subscriptions = append(r.Subscriptions, journal.Subscription{
			Filter: filter, QoS: o.qos, NoLocal: o.noLocal, RetainAsPublished: o.retainAsPublished, ID: o.id,
		})
	}
	return r
}
