package broker

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/internal/journal"
	"github.com/edgekit/edgekit/bus/internal/session"
)

// found is what restore has read of one session.
type found struct {
	session *clientSession
	cursor  session.Cursor
	stored  []session.Stored
}

// restoring reads the records of a storage.
type restoring struct {
	b        *Broker
	sessions map[uint64]*found
	now      int64
}

// restore reads the storage into memory before the broker serves. A damaged record is
// removed and logged, and costs only what it held. All clients are away.
func (b *Broker) restore(ctx context.Context) error {
	if b.cfg.Storage == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := restoring{b: b, sessions: make(map[uint64]*found), now: time.Now().UnixMilli()}
	var messages []Record // after the sessions that they are for
	for record, err := range b.cfg.Storage.Load(ctx) {
		if err != nil {
			return err
		}
		if strings.HasPrefix(record.Key, messagePrefix) || strings.HasPrefix(record.Key, cursorPrefix) {
			messages = append(messages, record)
			continue
		}
		r.read(record)
	}
	for _, record := range messages {
		r.read(record)
	}
	for _, f := range r.sessions {
		r.finish(f)
	}
	signal(b.sweeps)
	return nil
}

// read takes one record in, or removes it.
func (r *restoring) read(record Record) {
	var err error
	switch prefix := record.Key[:min(2, len(record.Key))]; prefix {
	case sessionPrefix:
		err = r.session(record.Value)
	case cursorPrefix:
		err = r.cursor(record)
	case messagePrefix:
		err = r.message(record)
	case retainedPrefix:
		err = r.retained(record)
	default:
		return // not ours
	}
	if err != nil {
		r.b.log.Error("a stored MQTT record is damaged and is removed", "key", record.Key, "err", err)
		r.b.batch.remove(record.Key)
	}
}

func (r *restoring) session(value []byte) error {
	d, err := journal.DecodeSession(value)
	if err != nil {
		return err
	}
	s := &clientSession{
		id: d.ClientID, number: d.Number, user: User{Name: d.User}, expiry: d.Expiry, kept: true, durable: true,
		left: d.Left, will: d.Will, subs: make(map[string]options),
	}
	r.b.lastID = max(r.b.lastID, d.Number)
	r.sessions[d.Number] = &found{session: s}
	if s.left == 0 { // connected when the program ended: it left now, as far as we know
		s.left = r.now
		r.b.dirtySession(s)
	}
	s.endsAt = s.left + int64(s.expiry)*1000
	if s.will != nil {
		s.willAt = s.left + int64(min(s.will.Delay, s.expiry))*1000
	}
	for _, sub := range d.Subscriptions {
		r.b.subscribe(s, sub.Filter, options{qos: sub.QoS, noLocal: sub.NoLocal, retainAsPublished: sub.RetainAsPublished, id: sub.ID})
	}
	r.b.kept++
	if old := r.b.sessions[s.id]; old != nil { // cannot be; the newer one counts
		r.b.endSession(old)
	}
	r.b.sessions[s.id] = s
	return nil
}

func (r *restoring) cursor(record Record) error {
	c, err := journal.DecodeCursor(record.Value)
	if err != nil {
		return err
	}
	number, err := strconv.ParseUint(record.Key[len(cursorPrefix):], 16, 64)
	if err != nil {
		return err
	}
	if f := r.sessions[number]; f != nil {
		f.cursor = c
	} else {
		r.b.batch.remove(record.Key)
	}
	return nil
}

func (r *restoring) message(record Record) error {
	d, err := journal.DecodeMessage(record.Value)
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(record.Key[len(messagePrefix):], 16, 64)
	if err != nil {
		return err
	}
	r.b.lastID = max(r.b.lastID, id)
	m := &session.Message{Topic: d.Topic, Payload: d.Payload, Props: d.Props, Expires: d.Expires, QoS: d.QoS, Retain: d.Retain, ID: id, Written: true}
	for _, t := range d.Targets {
		f := r.sessions[t.Session]
		if f == nil {
			continue // it has ended
		}
		if m.Refs == 0 {
			r.b.queued += m.Size()
		}
		m.Refs++
		m.Durable++
		f.stored = append(f.stored, session.Stored{Seq: t.Seq, Entry: session.Entry{Message: m, QoS: t.QoS, Retain: t.Retain, IDs: t.IDs, Durable: true}})
	}
	if m.Durable == 0 {
		r.b.batch.remove(record.Key)
	}
	return nil
}

func (r *restoring) retained(record Record) error {
	d, err := journal.DecodeMessage(record.Value)
	if err != nil {
		return err
	}
	if d.Expires > 0 && r.now >= d.Expires {
		r.b.batch.remove(record.Key)
		return nil
	}
	m := &session.Message{Topic: d.Topic, Payload: d.Payload, Props: d.Props, Expires: d.Expires, QoS: d.QoS, Retain: true}
	r.b.retained.Set(m.Topic, m)
	r.b.retainedBytes += m.Size()
	if m.Expires > 0 {
		r.b.expiring++
	}
	return nil
}

// finish gives a session its messages.
func (r *restoring) finish(f *found) {
	slices.SortFunc(f.stored, func(a, b session.Stored) int { return cmp.Compare(a.Seq, b.Seq) })
	state, dropped := session.Restore(f.cursor, f.stored, nil)
	f.session.state = *state
	for _, m := range dropped {
		r.b.release(f.session, session.Entry{Message: m, Durable: true})
	}
}
