package broker_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus/broker"
)

// withKeepalive changes the keepalive of a CONNECT packet that has a fixed header of two bytes.
func withKeepalive(packet []byte, seconds uint16) []byte {
	binary.BigEndian.PutUint16(packet[10:], seconds)
	return packet
}

// TestInteroperability has what the cases of Eclipse's interoperability suite (paho.mqtt.testing,
// client_test and client_test5) look at and the other tables do not. The numbers are those of
// MQTT 5.
func TestInteroperability(t *testing.T) {
	runStatements(t, []statement{
		{"3.1.2-22 3.1.2.10 keepalive: who is silent for longer is disconnected, and its will comes", func(t *testing.T, s *scene) {
			watch := s.join(t, connect{id: "watch"})
			watch.subscribe("will", 0)
			c := connect{id: "x", version: s.version, flags: 0x04, will: s.will("will", "silent")}
			p, err := dialRaw(t, s.b.Addr())
			if err != nil {
				t.Fatal(err)
			}
			p.version = s.version
			p.send(withKeepalive(c.packet(), 1))
			p.expect(packets.Connack)
			p.ends(s.code(0x8d))
			watch.message("will", "silent", 0)
		}},
		{"3.1.4-6 packets right behind CONNECT", func(t *testing.T, s *scene) {
			p, err := dialRaw(t, s.b.Addr())
			if err != nil {
				t.Fatal(err)
			}
			p.version = s.version
			subscribe := []byte{0, 9}
			if s.version == 5 {
				subscribe = append(subscribe, 0)
			}
			p.send(slices.Concat(connect{id: "x", version: s.version}.packet(), frame(0x82, append(append(subscribe, text("a")...), 1)), []byte{0xc0, 0}))
			p.expect(packets.Connack)
			p.expect(packets.Suback)
			p.expect(packets.Pingresp)
		}},
		{"3.14.4-1 3.14.4-2 nothing behind DISCONNECT counts", func(t *testing.T, s *scene) {
			watch := s.join(t, connect{id: "watch"})
			watch.subscribe("a", 0)
			p := s.join(t, connect{id: "x"})
			body := text("a")
			if s.version == 5 {
				body = append(body, 0)
			}
			p.send(append([]byte{0xe0, 0}, frame(0x30, append(body, 'x'))...))
			p.ends(0)
			watch.ping()
		}},
		{"4.6.0-2 4.6.0-3 acknowledgements in the order of the messages", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			for pid := uint16(1); pid <= 6; pid++ {
				p.publish(publishing{topic: "a", payload: "x", qos: 1 + byte(pid%2), pid: pid})
			}
			for pid := uint16(1); pid <= 6; pid++ {
				kind := packets.Puback
				if pid%2 == 1 {
					kind = packets.Pubrec
				}
				if pk := p.expect(kind); pk.PacketID != pid {
					t.Errorf("acknowledges %d, want %d", pk.PacketID, pid)
				}
			}
		}},
		{"3.10.4-3 what is in flight is finished after UNSUBSCRIBE", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", keep: true, expiry: 100})
			p.subscribe("a", 2)
			q := s.join(t, connect{id: "q"})
			q.publish(publishing{topic: "a", payload: "1", qos: 1, pid: 1})
			q.expect(packets.Puback)
			p.message("a", "1", 1)
			body := []byte{0, 5}
			if s.version == 5 {
				body = append(body, 0)
			}
			p.send(frame(0xa2, append(body, text("a")...)))
			p.expect(packets.Unsuback)
			p.conn.Close()
			p = s.join(t, connect{id: "x", keep: true, expiry: 100})
			if pk := p.message("a", "1", 1); !pk.FixedHeader.Dup {
				t.Error("comes again without DUP")
			}
		}},
		{"3.3.1-3 DUP of the publisher does not travel", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 1)
			p.publish(publishing{topic: "a", payload: "x", qos: 1, pid: 1, dup: true})
			for range 2 {
				if pk, err := p.next(); err != nil || (pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Dup) {
					t.Errorf("%+v, %v", pk.FixedHeader, err)
				}
			}
		}},
		{"1.5.4-3 a byte order mark belongs to the topic; 4.7.3 spaces and empty levels", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("#", 0)
			for _, topic := range []string{"\ufeffa", " ", "/", "//a/", strings.Repeat("long/", 100)} {
				p.publish(publishing{topic: topic, payload: "x"})
				p.message(topic, "x", 0)
			}
		}},
		{"3.1.3-5 3.1.3-6 client identifiers of any length and letters", func(t *testing.T, s *scene) {
			for _, id := range []string{strings.Repeat("x", 100), "a b/ü+#$"} {
				s.join(t, connect{id: id, keep: true, expiry: 10}).leave()
				if !s.join(t, connect{id: id, keep: true, expiry: 10}).ack.SessionPresent {
					t.Errorf("%.10q has no session", id)
				}
			}
		}},
		{"offline message queueing: QoS 1 and 2 wait in their order, QoS 0 does not", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", keep: true, expiry: 100})
			p.subscribe("a", 2)
			p.leave()
			q := s.join(t, connect{id: "q"})
			for i := range 6 {
				m := publishing{topic: "a", payload: string(rune('0' + i)), qos: byte(i % 3)}
				if m.qos > 0 {
					m.pid = uint16(i)
				}
				q.publish(m)
				switch m.qos {
				case 1:
					q.expect(packets.Puback)
				case 2:
					q.expect(packets.Pubrec)
				}
			}
			p = s.join(t, connect{id: "x", keep: true, expiry: 100})
			for _, i := range []int{1, 2, 4, 5} {
				p.message("a", string(rune('0'+i)), byte(i%3))
			}
			p.ping()
		}},
	}, 4, 5)
}

// TestInteroperability5 has those of MQTT 5 alone.
func TestInteroperability5(t *testing.T) {
	runStatements(t, []statement{
		{"3.3.2.3.2 payload format: what is not UTF-8 is refused", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 0)
			p.publish(publishing{topic: "a", payload: "ü", props: []byte{1, 1}})
			if pk := p.message("a", "ü", 0); pk.Properties.PayloadFormat != 1 {
				t.Errorf("%+v", pk.Properties)
			}
			p.publish(publishing{topic: "a", payload: "\xff", props: []byte{1, 1}})
			p.ends(0x99)
		}},
		{"4.10 request and response: topic, correlation and the reply", func(t *testing.T, s *scene) {
			asks, answers := s.join(t, connect{id: "asks"}), s.join(t, connect{id: "answers"})
			asks.subscribe("reply/asks", 1)
			answers.subscribe("service", 1)
			asks.publish(publishing{topic: "service", payload: "2+2", qos: 1, pid: 1, props: slices.Concat([]byte{8}, text("reply/asks"), []byte{9}, text("\x00\x01"))})
			pk := answers.message("service", "2+2", 1)
			if pk.Properties.ResponseTopic != "reply/asks" || !bytes.Equal(pk.Properties.CorrelationData, []byte{0, 1}) {
				t.Fatalf("%+v", pk.Properties)
			}
			answers.publish(publishing{topic: pk.Properties.ResponseTopic, payload: "4", props: slices.Concat([]byte{9}, text(string(pk.Properties.CorrelationData)))})
			asks.expect(packets.Puback)
			if pk := asks.message("reply/asks", "4", 0); !bytes.Equal(pk.Properties.CorrelationData, []byte{0, 1}) {
				t.Errorf("%+v", pk.Properties)
			}
		}},
		{"3.1.3.2 the properties of a will travel with it", func(t *testing.T, s *scene) {
			watch := s.join(t, connect{id: "watch"})
			watch.subscribe("will", 0)
			props := slices.Concat([]byte{1, 1}, uint32Prop(2, 100), []byte{3}, text("text/plain"), []byte{8}, text("r"), []byte{9}, text("c"), []byte{38}, text("k"), text("v"))
			s.join(t, connect{id: "x", flags: 0x04, will: s.will("will", "bye", props...)}).conn.Close()
			p := watch.message("will", "bye", 0).Properties
			if p.PayloadFormat != 1 || p.MessageExpiryInterval == 0 || p.MessageExpiryInterval > 100 || p.ContentType != "text/plain" || p.ResponseTopic != "r" || string(p.CorrelationData) != "c" || len(p.User) != 1 || p.User[0].Val != "v" {
				t.Errorf("%+v", p)
			}
		}},
		{"3.1.3.3 a will topic with a wildcard", func(t *testing.T, s *scene) {
			p := s.open(t, connect{id: "x", flags: 0x04, will: s.will("a/#", "x")})
			if pk := p.expect(packets.Connack); pk.ReasonCode != 0x90 {
				t.Errorf("%#x", pk.ReasonCode)
			}
		}},
		{"4.9.0-2 4.9.0-3 flow control: QoS 2 counts until PUBCOMP, and other packets pass", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", props: []byte{0x21, 0, 1}})
			p.subscribe("a", 2)
			q := s.join(t, connect{id: "q"})
			for pid := uint16(1); pid <= 2; pid++ {
				q.publish(publishing{topic: "a", payload: string(rune('0' + pid)), qos: 2, pid: pid})
				q.expect(packets.Pubrec)
			}
			first := p.message("a", "1", 2)
			p.ping()
			p.acknowledge(packets.Pubrec, first.PacketID)
			p.expect(packets.Pubrel)
			p.ping() // still one in flight
			p.acknowledge(packets.Pubcomp, first.PacketID)
			p.message("a", "2", 2)
		}},
		{"4.3.3-4 4.8.2-6 PUBREC and PUBACK with an error end the delivery, also of a shared one", func(t *testing.T, s *scene) {
			for _, filter := range []string{"a", "$share/g/a"} {
				p := s.join(t, connect{id: "x", props: []byte{0x21, 0, 1}})
				p.subscribe(filter, 2)
				q := s.join(t, connect{id: "q"})
				for pid := uint16(1); pid <= 3; pid++ {
					q.publish(publishing{topic: "a", payload: string(rune('0' + pid)), qos: 1 + byte(pid%2), pid: pid})
				}
				first := p.message("a", "1", 2)
				p.send(append(binary.BigEndian.AppendUint16([]byte{0x50, 3}, first.PacketID), 0x83))
				second := p.message("a", "2", 1)
				p.send(append(binary.BigEndian.AppendUint16([]byte{0x40, 3}, second.PacketID), 0x83))
				p.message("a", "3", 2)
				p.leave()
			}
		}},
		{"3.3.2-7 topic aliases end with the connection", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", keep: true, expiry: 100})
			p.publish(publishing{topic: "a", payload: "1", props: []byte{0x23, 0, 1}})
			p.ping()
			p = s.join(t, connect{id: "x", keep: true, expiry: 100})
			p.publish(publishing{payload: "2", props: []byte{0x23, 0, 1}})
			p.ends(0x82)
		}},
		{"3.1.2-26 3.3.2-8 aliases differ in each direction, and a new topic takes one over", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("#", 0)
			for _, topic := range []string{"a", "b"} {
				p.publish(publishing{topic: topic, payload: "named", props: []byte{0x23, 0, 1}})
				p.message(topic, "named", 0)
				p.publish(publishing{payload: "alias", props: []byte{0x23, 0, 1}})
				p.message(topic, "alias", 0)
			}
		}},
		{"3.1.2-23 3.2.2-21 session expiry: granted as asked up to the bound, ended in DISCONNECT", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x", keep: true, expiry: 1 << 31})
			if got := p.ack.Properties; !got.SessionExpiryIntervalFlag || got.SessionExpiryInterval != 24*3600 {
				t.Errorf("%+v", got)
			}
			p.subscribe("a", 1)
			p.send(slices.Concat([]byte{0xe0, 7, 0, 5}, uint32Prop(0x11, 100)))
			p.ends(0)
			q := s.join(t, connect{id: "x", keep: true})
			if !q.ack.SessionPresent {
				t.Error("the session is gone")
			}
			q.leave() // with an expiry of 0
			if s.join(t, connect{id: "x", keep: true}).ack.SessionPresent {
				t.Error("the session outlives its connection")
			}
		}},
		{"3.8.3.1 retain handling and retain as published together, on a subscription that exists", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.publish(publishing{topic: "a", payload: "kept", retain: true})
			p.subscribe("a", 0x08|0x20) // never; as published
			p.ping()
			p.publish(publishing{topic: "a", payload: "live", retain: true})
			if pk := p.message("a", "live", 0); !pk.FixedHeader.Retain {
				t.Error("live message without its flag")
			}
			p.subscribe("a", 0x10) // only if it is new
			p.ping()
			p.subscribe("a", 0) // always
			if pk := p.message("a", "live", 0); !pk.FixedHeader.Retain {
				t.Error("kept message without the flag")
			}
		}},
		{"4.8.2-1 4.8.2-2 shared subscriptions: one of several, QoS of its own, and beside an ordinary one", func(t *testing.T, s *scene) {
			members := []*peer{s.join(t, connect{id: "m0"}), s.join(t, connect{id: "m1"})}
			for i, m := range members {
				m.subscribe("$share/g/a/+", byte(i))
			}
			other := s.join(t, connect{id: "other"})
			other.subscribe("$share/h/a/b", 0)
			members[0].subscribe("a/b", 0)
			q := s.join(t, connect{id: "q"})
			for pid := uint16(1); pid <= 4; pid++ {
				q.publish(publishing{topic: "a/b", payload: "x", qos: 1, pid: pid})
				q.expect(packets.Puback)
			}
			for range 4 {
				other.message("a/b", "x", 0)
			}
			for range 4 + 2 {
				members[0].message("a/b", "x", 0)
			}
			for range 2 {
				members[1].message("a/b", "x", 1)
			}
			for _, m := range append(members, other) {
				m.ping()
			}
		}},
	}, 5)
}

// TestServerKeepalive has a bound on the keepalive: 3.2.2-21 and 3.2.2.3.14.
func TestServerKeepalive(t *testing.T) {
	b, _ := start(t, broker.Config{MaxKeepalive: 20 * time.Second})
	if p := join(t, b.Addr(), connect{id: "x", version: 5}).ack.Properties; !p.ServerKeepAliveFlag || p.ServerKeepAlive != 20 {
		t.Errorf("%+v", p)
	}
}
