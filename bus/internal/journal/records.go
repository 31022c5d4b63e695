package journal

import (
	"encoding/binary"
	"errors"

	"github.com/edgekit/edgekit/bus/internal/session"
)

// version is the first byte of each record.
const version = 1

// ErrDamaged is returned for bytes that are no record of this version.
var ErrDamaged = errors.New("record is damaged or of another version")

// Subscription is one subscription of a session.
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	ID                uint32 // subscription identifier; 0 is none
}

// Will is the will of a session's client.
type Will struct {
	Topic   string
	Payload []byte
	Props   []byte
	QoS     byte
	Retain  bool
	Delay   uint32 // seconds
	Expiry  uint32 // seconds; 0 means never
}

// Session is a session without its messages.
type Session struct {
	Number        uint64 // names the session in messages; never used twice
	ClientID      string
	User          string
	Expiry        uint32 // seconds for which the session outlives its connection
	Left          int64  // when its client left, in milliseconds since 1970; 0 while connected
	Will          *Will  // of the client that is connected, or whose delay runs
	Subscriptions []Subscription
}

// Target is a session for which a message is.
type Target struct {
	Session uint64 // its number
	Seq     uint64
	QoS     byte
	Retain  bool
	IDs     []uint32
}

// Message is a message with the sessions for which it is. A retained message has no
// targets.
type Message struct {
	Topic   string
	Payload []byte
	Props   []byte
	Expires int64
	QoS     byte
	Retain  bool
	Targets []Target
}

// Encode returns the record of s.
func (s Session) Encode() []byte {
	e := encoder{version}
	e.uint(s.Number)
	e.text(s.ClientID)
	e.text(s.User)
	e.uint(uint64(s.Expiry))
	e.uint(uint64(s.Left))
	e.bool(s.Will != nil)
	if w := s.Will; w != nil {
		e.text(w.Topic)
		e.text(string(w.Payload))
		e.text(string(w.Props))
		e.uint(uint64(w.QoS))
		e.bool(w.Retain)
		e.uint(uint64(w.Delay))
		e.uint(uint64(w.Expiry))
	}
	e.uint(uint64(len(s.Subscriptions)))
	for _, sub := range s.Subscriptions {
		e.text(sub.Filter)
		e.uint(uint64(sub.QoS))
		e.bool(sub.NoLocal)
		e.bool(sub.RetainAsPublished)
		e.uint(uint64(sub.ID))
	}
	return e
}

// DecodeSession reads what Encode wrote, or returns ErrDamaged.
func DecodeSession(b []byte) (Session, error) {
	d := newDecoder(b)
	s := Session{Number: d.uint(), ClientID: d.text(), User: d.text(), Expiry: uint32(d.uint()), Left: int64(d.uint())}
	if d.bool() {
		s.Will = &Will{
			Topic: d.text(), Payload: d.bytes(), Props: d.bytes(), QoS: d.qos(), Retain: d.bool(),
			Delay: uint32(d.uint()), Expiry: uint32(d.uint()),
		}
	}
	for range d.count() {
		s.Subscriptions = append(s.Subscriptions, Subscription{
			Filter: d.text(), QoS: d.qos(), NoLocal: d.bool(), RetainAsPublished: d.bool(), ID: uint32(d.uint()),
		})
	}
	return s, d.end()
}

// EncodeCursor returns the record of c.
func EncodeCursor(c session.Cursor) []byte {
	e := encoder{version}
	e.uint(c.Base)
	e.uint(c.Next - c.Base)
	for _, list := range [][]uint64{c.Done, c.Released} {
		e.uint(uint64(len(list)))
		for _, seq := range list {
			e.uint(seq - c.Base)
		}
	}
	e.uint(uint64(len(c.Inbound)))
	for _, id := range c.Inbound {
		e.uint(uint64(id))
	}
	return e
}

// DecodeCursor reads what EncodeCursor wrote, or returns ErrDamaged.
func DecodeCursor(b []byte) (session.Cursor, error) {
	d := newDecoder(b)
	c := session.Cursor{Base: d.uint()}
	c.Next = c.Base + d.uint()
	for _, list := range []*[]uint64{&c.Done, &c.Released} {
		for range d.count() {
			*list = append(*list, c.Base+d.uint())
		}
	}
	for range d.count() {
		c.Inbound = append(c.Inbound, uint16(d.uint()))
	}
	return c, d.end()
}

// Encode returns the record of m.
func (m Message) Encode() []byte {
	e := make(encoder, 0, 64+len(m.Topic)+len(m.Payload)+len(m.Props)+16*len(m.Targets))
	e = append(e, version)
	e.text(m.Topic)
	e.uint(uint64(m.Expires))
	e.uint(uint64(m.QoS))
	e.bool(m.Retain)
	e.uint(uint64(len(m.Targets)))
	for _, t := range m.Targets {
		e.uint(t.Session)
		e.uint(t.Seq)
		e.uint(uint64(t.QoS))
		e.bool(t.Retain)
		e.uint(uint64(len(t.IDs)))
		for _, id := range t.IDs {
			e.uint(uint64(id))
		}
	}
	e.uint(uint64(len(m.Props)))
	e = append(e, m.Props...)
	e.uint(uint64(len(m.Payload)))
	return append(e, m.Payload...)
}

// DecodeMessage reads what Encode wrote, or returns ErrDamaged.
func DecodeMessage(b []byte) (Message, error) {
	d := newDecoder(b)
	m := Message{Topic: d.text(), Expires: int64(d.uint()), QoS: d.qos(), Retain: d.bool()}
	for range d.count() {
		t := Target{Session: d.uint(), Seq: d.uint(), QoS: d.qos(), Retain: d.bool()}
		for range d.count() {
			t.IDs = append(t.IDs, uint32(d.uint()))
		}
		m.Targets = append(m.Targets, t)
	}
	m.Props = d.bytes()
	m.Payload = d.bytes()
	return m, d.end()
}

type encoder []byte

func (e *encoder) uint(v uint64) { *e = binary.AppendUvarint(*e, v) }

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) bool(b bool) {
	var v byte
	if b {
		v = 1
	}
	*e = append(*e, v)
}

// decoder reads one record. After a fault it gives zeros.
type decoder struct {
	rest []byte
	bad  bool
}

func newDecoder(b []byte) *decoder {
	if len(b) == 0 || b[0] != version {
		return &decoder{bad: true}
	}
	return &decoder{rest: b[1:]}
}

func (d *decoder) fail() { d.rest, d.bad = nil, true }

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads the length of a list; each element takes a byte at least.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte {
	n := d.count()
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes()) }

func (d *decoder) bool() bool { return d.uint() == 1 }

func (d *decoder) qos() byte {
	q := d.uint()
	if q > 2 {
		d.fail()
	}
	return byte(q)
}

func (d *decoder) end() error {
	if d.bad || len(d.rest) > 0 {
		return ErrDamaged
	}
	return nil
}
