package journal

import (
	"reflect"
	"testing"

	"github.com/edgekit/edgekit/bus/internal/session"
)

var (
	aSession = Session{
		Number: 7, ClientID: "mapper", User: "m", Expiry: 3600, Left: 1_700_000_000_000,
		Will:          &Will{Topic: "w", Payload: []byte("gone"), Props: []byte{}, QoS: 2, Retain: true, Delay: 5, Expiry: 9},
		Subscriptions: []Subscription{{Filter: "a/#", QoS: 1, NoLocal: true, ID: 300}, {Filter: "$share/g/b", RetainAsPublished: true}},
	}
	aCursor  = session.Cursor{Base: 10, Next: 20, Done: []uint64{12, 15}, Released: []uint64{13}, Inbound: []uint16{1, 65535}}
	aMessage = Message{
		Topic: "a/b", Payload: []byte("x"), Props: []byte{0x26}, Expires: 5, QoS: 2, Retain: true,
		Targets: []Target{{Session: 1, Seq: 2, QoS: 1, Retain: true, IDs: []uint32{1, 268435455}}, {Session: 2}},
	}
)

func TestRecords(t *testing.T) {
	if got, err := DecodeSession(aSession.Encode()); err != nil || !reflect.DeepEqual(got, aSession) {
		t.Errorf("session: %+v, %v", got, err)
	}
	if got, err := DecodeCursor(EncodeCursor(aCursor)); err != nil || !reflect.DeepEqual(got, aCursor) {
		t.Errorf("cursor: %+v, %v", got, err)
	}
	if got, err := DecodeMessage(aMessage.Encode()); err != nil || !reflect.DeepEqual(got, aMessage) {
		t.Errorf("message: %+v, %v", got, err)
	}
	for _, b := range [][]byte{nil, {9}, {version}, append(aMessage.Encode(), 0)} {
		if _, err := DecodeMessage(b); err == nil {
			t.Errorf("%v was taken", b)
		}
	}
}

// FuzzRecords reads damaged records: none panics or takes much memory, and what is
// accepted reads the same again.
func FuzzRecords(f *testing.F) {
	f.Add(aSession.Encode())
	f.Add(EncodeCursor(aCursor))
	f.Add(aMessage.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeSession(b); err == nil {
			if again, err := DecodeSession(s.Encode()); err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("session: %+v became %+v, %v", s, again, err)
			}
		}
		if m, err := DecodeMessage(b); err == nil {
			if again, err := DecodeMessage(m.Encode()); err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("message: %+v became %+v, %v", m, again, err)
			}
		}
		if c, err := DecodeCursor(b); err == nil {
			session.Restore(c, []session.Stored{{Seq: c.Base, Entry: session.Entry{Message: &session.Message{}}}}, nil)
		}
	})
}
