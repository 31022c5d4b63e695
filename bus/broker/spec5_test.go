package broker_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// uint32Prop is a property with four bytes.
func uint32Prop(id byte, v uint32) []byte { return binary.BigEndian.AppendUint32([]byte{id}, v) }

// TestStatements5 has those of MQTT 5 alone.
func TestStatements5(t *testing.T) {
	runStatements(t, []statement{
		{"3.2.2-16 3.2.2-21 assigned identifier; 3.2.2-6 3.2.2-15 limits in CONNACK", func(t *testing.T, s *scene) {
			p := s.join(t, connect{}).ack.Properties
			if p.AssignedClientID == "" || p.MaximumPacketSize != 4096 || p.ReceiveMaximum != 8 || p.TopicAliasMaximum == 0 {
				t.Errorf("%+v", p)
			}
		}},
		{"3.1.2-23 3.14.2-2 session expiry ends the session", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", keep: true, expiry: 100})
			p.send([]byte{0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0})
			p.ends(0)
			if s.join(t, connect{id: "x", keep: true, expiry: 1}).ack.SessionPresent {
				t.Error("the session outlived an expiry of 0")
			}
			p = s.join(t, connect{id: "y", keep: true})
			p.send([]byte{0xe0, 7, 0, 5, 0x11, 0, 0, 0, 9})
			p.ends(0x82)
		}},
		{"3.1.2-24 3.1.2-25 packets above the client's maximum are not sent", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", props: uint32Prop(0x27, 50)})
			p.subscribe("a", 2)
			q := s.join(t, connect{id: "q"})
			for i, payload := range []string{strings.Repeat("x", 60), "small"} {
				for qos := range byte(3) {
					q.publish(publishing{topic: "a", payload: payload, qos: qos, pid: uint16(i*3) + uint16(qos) + 1})
				}
			}
			for qos := range byte(3) {
				p.message("a", "small", qos)
			}
		}},
		{"3.1.2-6 3.3.4-9 the client's receive maximum", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", props: []byte{0x21, 0, 2}})
			p.subscribe("a", 1)
			q := s.join(t, connect{id: "q"})
			for i := range 4 {
				q.publish(publishing{topic: "a", payload: fmt.Sprint(i), qos: 1, pid: uint16(i + 1)})
				q.expect(packets.Puback)
			}
			p.message("a", "0", 1)
			p.message("a", "1", 1)
			p.ping()
			p.acknowledge(packets.Puback, 1)
			p.message("a", "2", 1)
			for i := range uint16(9) { // the broker's own is 8
				q.publish(publishing{topic: "b", payload: "x", qos: 2, pid: 10 + i})
			}
			for range 8 {
				q.expect(packets.Pubrec)
			}
			q.ends(0x93)
		}},
		{"3.3.2-8 3.3.2-9 3.3.2-12 topic alias of the client", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 0)
			p.publish(publishing{topic: "a", payload: "1", props: []byte{0x23, 0, 3}})
			p.publish(publishing{payload: "2", props: []byte{0x23, 0, 3}})
			p.message("a", "1", 0)
			p.message("a", "2", 0)
			for alias, code := range map[uint16]byte{0: 0x94, 999: 0x94, 4: 0x82} {
				p := s.join(t, connect{id: "x"})
				p.publish(publishing{payload: "x", props: binary.BigEndian.AppendUint16([]byte{0x23}, alias)})
				p.ends(code)
			}
		}},
		{"3.1.2-26 3.1.2-27 topic alias of the broker", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", props: []byte{0x22, 0, 1}})
			p.subscribe("#", 0)
			for _, topic := range []string{"a", "a", "b"} {
				p.publish(publishing{topic: topic, payload: topic})
			}
			for i, want := range []struct {
				topic string
				alias uint16
			}{{"a", 1}, {"", 1}, {"b", 0}} {
				m := p.expect(packets.Publish)
				if m.TopicName != want.topic || m.Properties.TopicAlias != want.alias {
					t.Errorf("message %d: %q alias %d", i, m.TopicName, m.Properties.TopicAlias)
				}
			}
		}},
		{"3.3.2-4 3.3.2-15 to 3.3.2-20 properties travel unchanged and in order", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 0)
			props := slices.Concat([]byte{0x01, 1, 0x03}, text("text/plain"), []byte{0x08}, text("answer/here"), []byte{0x09}, text("\x00\x01"),
				[]byte{0x26}, text("k"), text("1"), []byte{0x26}, text("k"), text("2"))
			p.publish(publishing{topic: "a", payload: "x", props: props})
			got := p.message("a", "x", 0).Properties
			if got.ContentType != "text/plain" || got.ResponseTopic != "answer/here" || string(got.CorrelationData) != "\x00\x01" ||
				!got.PayloadFormatFlag || len(got.User) != 2 || got.User[0].Val != "1" || got.User[1].Val != "2" {
				t.Errorf("%+v", got)
			}
		}},
		{"3.3.2-5 3.3.2-6 message expiry", func(t *testing.T, s *scene) {
			c := connect{id: "x", keep: true, expiry: 100}
			p := s.join(t, c)
			p.subscribe("a", 1)
			p.leave()
			q := s.join(t, connect{id: "q"})
			q.publish(publishing{topic: "a", payload: "short", qos: 1, pid: 1, props: uint32Prop(2, 1)})
			q.publish(publishing{topic: "a", payload: "long", qos: 1, pid: 2, props: uint32Prop(2, 1000)})
			q.expect(packets.Puback)
			q.expect(packets.Puback)
			waitSeconds(t, 1.2)
			m := s.join(t, c).message("a", "long", 1)
			if e := m.Properties.MessageExpiryInterval; e < 500 || e > 1000 {
				t.Errorf("expiry %d", e)
			}
		}},
		{"3.3.4-6 4.8.2 a subscription identifier in a client's PUBLISH; wrong properties", func(t *testing.T, s *scene) {
			for _, props := range [][]byte{{0x0b, 1}, {0x11, 0, 0, 0, 1}, {0xff}, {0x02, 0}, {0x01, 2}, slices.Concat([]byte{8}, text("a/+"))} {
				p := s.join(t, connect{id: "x"})
				p.publish(publishing{topic: "a", payload: "xxxxxxx", props: props})
				if pk := p.expect(packets.Disconnect); pk.ReasonCode < 0x80 {
					t.Errorf("% x: %#x", props, pk.ReasonCode)
				}
			}
		}},
		{"3.3.4-3 3.3.4-4 3.8.2 subscription identifiers", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a/#", 0, 0x0b, 5)
			p.subscribe("a/+", 0, 0x0b, 0x80, 1)
			p.subscribe("a/b", 0)
			p.publish(publishing{topic: "a/b", payload: "x"})
			ids := p.message("a/b", "x", 0).Properties.SubscriptionIdentifier
			slices.Sort(ids)
			if !slices.Equal(ids, []int{5, 128}) {
				t.Errorf("%v", ids)
			}
		}},
		{"3.8.3-3 no local; 3.3.1-13 retain as published", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 4)
			q := s.join(t, connect{id: "q"})
			q.subscribe("a", 8)
			p.publish(publishing{topic: "a", payload: "x", retain: true})
			if !q.message("a", "x", 0).FixedHeader.Retain {
				t.Error("retain was not kept")
			}
			p.ping()
		}},
		{"3.3.1-9 to 3.3.1-11 retain handling", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.publish(publishing{topic: "a", payload: "x", retain: true})
			p.subscribe("a", 0x20) // never
			p.ping()
			p.subscribe("a", 0x10) // if new: it is not
			p.ping()
			p.subscribe("a", 0)
			p.message("a", "x", 0)
			p.subscribe("+", 0x10)
			p.message("a", "x", 0)
		}},
		{"3.8.3-4 4.8.2-1 to 4.8.2-5 shared subscriptions", func(t *testing.T, s *scene) {
			p, q := s.join(t, connect{id: "x"}), s.join(t, connect{id: "y"})
			p.publish(publishing{topic: "a", payload: "kept", retain: true})
			for _, c := range []*peer{p, q} {
				if code := c.subscribe("$share/g/a", 1); code != 1 {
					t.Fatalf("%#x", code)
				}
				c.ping() // no retained message
			}
			for i := range 4 {
				p.publish(publishing{topic: "a", payload: fmt.Sprint(i)})
			}
			for i := range 4 {
				[]*peer{p, q}[i%2].message("a", fmt.Sprint(i), 0)
			}
			q.leave()
			p.publish(publishing{topic: "a", payload: "alone"})
			p.message("a", "alone", 0)
			for _, f := range []string{"$share/g", "$share//a", "$share/+/a"} {
				if code := p.subscribe(f, 0); code != 0x8f {
					t.Errorf("%s: %#x", f, code)
				}
			}
			p.send(frame(0x82, slices.Concat([]byte{0, 1, 0}, text("$share/g/a"), []byte{4})))
			p.ends(0x82)
		}},
		{"4.8.2 a shared subscription with # leaves out topics with $", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("$share/g/#", 0)
			p.publish(publishing{topic: "$hw/secret", payload: "x"})
			p.ping()
		}},
		{"3.1.3-9 will delay: not before it, and not if the client is back", func(t *testing.T, s *scene) {
			watch := s.join(t, connect{id: "watch"})
			watch.subscribe("will", 0)
			later := connect{id: "x", keep: true, expiry: 10_000, flags: 0x04, will: s.will("will", "later", uint32Prop(0x18, 10_000)...)}
			s.join(t, later).conn.Close()
			waitFor(t, func() bool { return s.b.Stats().Clients == 1 })
			watch.ping()
			s.join(t, connect{id: "x", keep: true, expiry: 100}).leave()
			watch.ping()
			s.join(t, later).conn.Close()
			waitFor(t, func() bool { return s.b.Stats().Clients == 1 })
			s.join(t, connect{id: "x"}).leave() // the session ends before the delay does
			watch.message("will", "later", 0)
			c := connect{id: "x", keep: true, expiry: 100, flags: 0x04, will: s.will("will", "gone", uint32Prop(0x18, 1)...)}
			s.join(t, c).conn.Close()
			watch.message("will", "gone", 0)
			s.join(t, c).send([]byte{0xe0, 1, 4}) // DISCONNECT with will
			watch.message("will", "gone", 0)
		}},
		{"3.4.2 3.5.2 no matching subscribers; 3.6.2 3.7.2 unknown identifiers", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.publish(publishing{topic: "a", payload: "x", qos: 1, pid: 1})
			p.publish(publishing{topic: "a", payload: "x", qos: 2, pid: 2})
			p.acknowledge(packets.Pubrel, 9)
			p.acknowledge(packets.Pubrec, 9)
			p.acknowledge(packets.Puback, 9)
			for _, want := range []struct{ kind, code byte }{{packets.Puback, 0x10}, {packets.Pubrec, 0x10}, {packets.Pubcomp, 0x92}, {packets.Pubrel, 0x92}} {
				if pk := p.expect(want.kind); pk.ReasonCode != want.code {
					t.Errorf("%s has the code %#x", packets.PacketNames[want.kind], pk.ReasonCode)
				}
			}
			p.ping()
		}},
		{"4.12.0-1 enhanced authentication is refused; AUTH alone", func(t *testing.T, s *scene) {
			p := s.open(t, connect{id: "x", props: slices.Concat([]byte{0x15}, text("SCRAM"))})
			if pk := p.expect(packets.Connack); pk.ReasonCode != 0x8c {
				t.Errorf("%#x", pk.ReasonCode)
			}
			p = s.join(t, connect{id: "x"})
			p.send([]byte{0xf0, 0})
			p.ends(0x82)
		}},
		{"3.3.2 publishing to $SYS is not authorized, and acknowledged", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.publish(publishing{topic: "$SYS/a", payload: "x", qos: 1, pid: 1})
			if pk := p.expect(packets.Puback); pk.ReasonCode != 0x87 {
				t.Errorf("%#x", pk.ReasonCode)
			}
		}},
	}, 5)
}
