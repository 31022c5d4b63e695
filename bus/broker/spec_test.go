package broker_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus/broker"
)

// statement is one or more normative statements of MQTT 5 (or 3.1.1 where it says so), by
// their numbers, and what must be seen on the socket.
type statement struct {
	numbers string
	test    func(t *testing.T, s *scene)
}

// scene is a broker with a helper to connect to it.
type scene struct {
	b       *broker.Broker
	version byte
}

func (s *scene) open(t *testing.T, c connect) *peer {
	t.Helper()
	if c.version == 0 {
		c.version = s.version
	}
	return open(t, s.b.Addr(), c)
}

func (s *scene) join(t *testing.T, c connect) *peer {
	t.Helper()
	if c.version == 0 {
		c.version = s.version
	}
	return join(t, s.b.Addr(), c)
}

// code is that of an MQTT 5 DISCONNECT; MQTT 3 has none.
func (s *scene) code(v5 byte) byte {
	if s.version < 5 {
		return 0
	}
	return v5
}

func runStatements(t *testing.T, all []statement, versions ...byte) {
	for _, version := range versions {
		for _, st := range all {
			t.Run(fmt.Sprintf("v%d %s", version, st.numbers), func(t *testing.T) {
				b, _ := start(t, broker.Config{MaxPacket: 4096, MaxInflight: 8})
				st.test(t, &scene{b: b, version: version})
			})
		}
	}
}

// TestStatements has those that hold for 3.1.1 and 5 alike. The numbers are those of MQTT 5.
func TestStatements(t *testing.T) {
	runStatements(t, []statement{
		{"1.5.4-1 1.5.4-2 4.7.3-1 3.3.2-2 topics are UTF-8 without zero and wildcards", func(t *testing.T, s *scene) {
			for topic, code := range map[string]byte{"\xff": 0x81, "a\x00b": 0x81, "a/+": 0x90, "#": 0x90, "": 0x82} {
				p := s.join(t, connect{id: "x"})
				p.publish(publishing{topic: topic, payload: "p"})
				p.ends(s.code(code))
			}
		}},
		{"2.2.1-3 3.3.1-2 3.3.1-4 identifier 0, DUP with QoS 0, QoS 3", func(t *testing.T, s *scene) {
			for _, m := range []publishing{{topic: "a", qos: 1}, {topic: "a", dup: true}, {topic: "a", qos: 3, pid: 1}} {
				p := s.join(t, connect{id: "x"})
				p.publish(m)
				if pk, err := p.next(); err == nil && pk.FixedHeader.Type != packets.Disconnect {
					t.Errorf("%+v was answered with %v", m, pk.FixedHeader)
				}
			}
		}},
		{"2.1.3-1 3.8.1-1 3.10.1-1 3.6.1-1 3.14.1-1 reserved flags", func(t *testing.T, s *scene) {
			for _, packet := range [][]byte{{0x80, 0}, {0xa0, 0}, {0x60, 2, 0, 1}, {0x41, 2, 0, 1}, {0xe1, 0}, {0xc1, 0}, {0x00, 0}, {0x20, 0}, {0x90, 0}, {0xd0, 0}} {
				p := s.join(t, connect{id: "x"})
				p.send(packet)
				if pk, err := p.next(); err == nil && pk.FixedHeader.Type != packets.Disconnect {
					t.Errorf("% x was answered with %v", packet, pk.FixedHeader)
				}
			}
		}},
		{"3.1.0-1 the first packet is CONNECT", func(t *testing.T, s *scene) {
			for _, packet := range [][]byte{{0xc0, 0}, {0x30, 3, 0, 1, 'a'}, []byte("GET / HTTP/1.1\r\n\r\n")} {
				p := s.open(t, connect{id: "x"})
				q, err := dialRaw(t, s.b.Addr())
				if err != nil {
					t.Fatal(err)
				}
				q.send(packet)
				q.ends(0)
				p.expect(packets.Connack)
			}
		}},
		{"3.1.0-2 a second CONNECT", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.send(connect{id: "x", version: s.version}.packet())
			p.ends(s.code(0x82))
		}},
		{"3.1.2-2 unknown protocol versions", func(t *testing.T, s *scene) {
			for _, v := range []byte{0, 2, 6, 255} {
				c := connect{id: "x", version: 4}.packet()
				c[8] = v
				q, err := dialRaw(t, s.b.Addr())
				if err != nil {
					t.Fatal(err)
				}
				q.send(c)
				if pk, err := q.next(); err == nil && pk.ReasonCode == 0 {
					t.Errorf("version %d is accepted", v)
				}
			}
		}},
		{"3.1.2-3 3.1.2-11 3.1.2-12 3.1.2-13 flags of CONNECT", func(t *testing.T, s *scene) {
			for _, flags := range []byte{0x01, 0x08, 0x18, 0x20} {
				p := s.open(t, connect{id: "x", flags: flags})
				if pk, err := p.next(); err == nil && (pk.FixedHeader.Type != packets.Connack || pk.ReasonCode < 1) {
					t.Errorf("flags %#x are accepted", flags)
				}
			}
		}},
		{"3.1.2-4 3.1.2-5 3.1.2-6 3.2.2-2 3.2.2-3 session present", func(t *testing.T, s *scene) {
			keep := connect{id: "x", keep: true, expiry: 100}
			for i, want := range []bool{false, true, true} {
				p := s.join(t, keep)
				if p.ack.SessionPresent != want {
					t.Errorf("connect %d: session present %v", i, !want)
				}
				p.leave()
			}
			s.join(t, connect{id: "x"}).leave()
			if s.join(t, keep).ack.SessionPresent {
				t.Error("a clean start keeps the session")
			}
		}},
		{"3.1.4-3 4.1.0-1 takeover: the old connection ends, the session goes on", func(t *testing.T, s *scene) {
			c := connect{id: "x", keep: true, expiry: 100}
			old := s.join(t, c)
			old.subscribe("a", 1)
			p := s.join(t, c)
			old.ends(s.code(0x8e))
			if !p.ack.SessionPresent {
				t.Error("no session")
			}
			p.publish(publishing{topic: "a", payload: "x"})
			p.message("a", "x", 0)
		}},
		{"3.1.2-8 3.14.4-3 will: published when the connection drops, not after DISCONNECT", func(t *testing.T, s *scene) {
			watch := s.join(t, connect{id: "watch"})
			watch.subscribe("will", 1)
			c := connect{id: "x", flags: 0x0c, will: s.will("will", "gone")}
			s.join(t, c).leave()
			s.join(t, c).conn.Close()
			watch.message("will", "gone", 1)
			p := s.join(t, c)
			s.join(t, c) // takes over
			watch.message("will", "gone", 1)
			p.ends(s.code(0x8e))
			watch.ping()
		}},
		{"3.1.2-9 a will without payload; 3.1.2-14 3.1.2-15 a retained one", func(t *testing.T, s *scene) {
			s.join(t, connect{id: "x", flags: 0x2c, will: s.will("will", "kept")}).conn.Close()
			s.join(t, connect{id: "y", flags: 0x04, will: s.will("will/2", "")}).conn.Close()
			waitFor(t, func() bool { return s.b.Stats().Clients == 0 })
			p := s.join(t, connect{id: "z"})
			p.subscribe("will/#", 1)
			if m := p.message("will", "kept", 1); !m.FixedHeader.Retain {
				t.Error("not retained")
			}
		}},
		{"3.3.1-5 to 3.3.1-8 3.3.1-12 retained messages", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("r", 1)
			p.publish(publishing{topic: "r", payload: "1", retain: true, qos: 1, pid: 1})
			if m := p.message("r", "1", 1); m.FixedHeader.Retain {
				t.Error("a live message says that it was retained")
			}
			p.expect(packets.Puback)
			p.publish(publishing{topic: "r", payload: "2", retain: true})
			p.message("r", "2", 0)
			q := s.join(t, connect{id: "y"})
			q.subscribe("r", 1)
			if m := q.message("r", "2", 0); !m.FixedHeader.Retain {
				t.Error("a retained message does not say so")
			}
			p.publish(publishing{topic: "r", retain: true})
			p.message("r", "", 0)
			q.message("r", "", 0)
			p.ping()
			z := s.join(t, connect{id: "z"})
			z.subscribe("r", 1)
			z.ping()
		}},
		{"3.8.4-1 3.8.4-5 3.8.4-6 3.9.3-1 SUBACK has a code for each filter", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			body := []byte{1, 2}
			if s.version == 5 {
				body = append(body, 0)
			}
			for i, f := range []string{"a", "b/#", "c+", "d/+"} {
				body = append(append(body, text(f)...), byte(i%3))
			}
			p.send(frame(0x82, body))
			bad := byte(0x80)
			if s.version == 5 {
				bad = 0x8f
			}
			if ack := p.expect(packets.Suback); ack.PacketID != 0x102 || !slices.Equal(ack.ReasonCodes, []byte{0, 1, bad, 0}) {
				t.Errorf("%v", ack)
			}
		}},
		{"3.8.3-2 3.10.3-2 no filter; 3.8.3-5 QoS 3; a packet that ends early", func(t *testing.T, s *scene) {
			head := []byte{0, 1}
			if s.version == 5 {
				head = append(head, 0)
			}
			for _, packet := range [][]byte{
				frame(0x82, head), frame(0xa2, head), frame(0x82, slices.Concat(head, text("a"), []byte{3})),
				frame(0x82, slices.Concat(head, text("a"))), frame(0x82, slices.Concat(head, []byte{0, 9, 'a'})), frame(0x82, []byte{0}),
			} {
				p := s.join(t, connect{id: "x"})
				p.send(packet)
				if pk, err := p.next(); err == nil && pk.FixedHeader.Type != packets.Disconnect {
					t.Errorf("% x was answered with %v", packet, pk.FixedHeader)
				}
			}
		}},
		{"3.8.4-3 a second SUBSCRIBE replaces the first", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 0)
			p.subscribe("a", 1)
			p.publish(publishing{topic: "a", payload: "x", qos: 1, pid: 1})
			p.message("a", "x", 1)
			p.expect(packets.Puback)
			p.ping()
		}},
		{"3.10.4-1 3.10.4-4 3.11.2 UNSUBSCRIBE", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 1)
			body := []byte{3, 4}
			if s.version == 5 {
				body = append(body, 0)
			}
			p.send(frame(0xa2, slices.Concat(body, text("a"), text("none"))))
			ack := p.expect(packets.Unsuback)
			if ack.PacketID != 0x304 || (s.version == 5 && !slices.Equal(ack.ReasonCodes, []byte{0, 0x11})) {
				t.Errorf("%+v", ack)
			}
			p.publish(publishing{topic: "a", payload: "x"})
			p.ping()
		}},
		{"3.3.4-2 3.8.4-8 overlapping filters: the highest QoS, at most that of the message", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			for i, f := range []string{"a/#", "a/+", "a/b"} {
				p.subscribe(f, byte(i))
			}
			p.publish(publishing{topic: "a/b", payload: "x", qos: 1, pid: 1})
			p.message("a/b", "x", 1)
			p.expect(packets.Puback)
			p.ping()
		}},
		{"4.3.2-1 to 4.3.2-4 4.4.0-1 QoS 1 comes again with DUP", func(t *testing.T, s *scene) {
			c := connect{id: "x", keep: true, expiry: 100}
			p := s.join(t, c)
			p.subscribe("a", 1)
			q := s.join(t, connect{id: "q"})
			for i := range 3 {
				q.publish(publishing{topic: "a", payload: fmt.Sprint(i), qos: 1, pid: uint16(i + 1)})
				q.expect(packets.Puback)
			}
			ids := make([]uint16, 3)
			for i := range ids {
				ids[i] = p.message("a", fmt.Sprint(i), 1).PacketID
			}
			p.acknowledge(packets.Puback, ids[1])
			p.ping()
			p.conn.Close()
			p = s.join(t, c)
			for _, i := range []int{0, 2} {
				if m := p.message("a", fmt.Sprint(i), 1); !m.FixedHeader.Dup || m.PacketID != ids[i] {
					t.Errorf("message %d: DUP %v, identifier %d, was %d", i, m.FixedHeader.Dup, m.PacketID, ids[i])
				}
			}
		}},
		{"4.3.3-1 to 4.3.3-13 QoS 2 in both directions with one identifier", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 2)
			p.publish(publishing{topic: "a", payload: "x", qos: 2, pid: 1})
			var m packets.Packet
			for range 2 {
				if pk, _ := p.next(); pk.FixedHeader.Type == packets.Publish {
					m = pk
				}
			}
			if m.PacketID != 1 || m.FixedHeader.Qos != 2 {
				t.Fatalf("%+v", m)
			}
			p.publish(publishing{topic: "a", payload: "x", qos: 2, pid: 1, dup: true}) // again, before PUBREL
			p.expect(packets.Pubrec)
			p.acknowledge(packets.Pubrec, 1)
			if pk := p.expect(packets.Pubrel); pk.PacketID != 1 {
				t.Errorf("%+v", pk)
			}
			p.acknowledge(packets.Pubrel, 1)
			p.expect(packets.Pubcomp)
			p.acknowledge(packets.Pubrel, 1) // again
			p.expect(packets.Pubcomp)
			p.acknowledge(packets.Pubcomp, 1)
			p.ping()
			if q := s.b.Stats(); q.QueuedBytes != 0 || q.Received != 2 {
				t.Errorf("%+v", q)
			}
		}},
		{"4.5.0-1 4.6.0-5 4.6.0-6 order, and 4.9.0 no more in flight than the receive maximum", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("a", 1)
			q := s.join(t, connect{id: "q"})
			const n = 30 // MaxInflight is 8
			for i := range n {
				q.publish(publishing{topic: "a", payload: fmt.Sprint(i), qos: 1, pid: uint16(i + 1)})
				q.expect(packets.Puback)
			}
			for i := range 8 {
				p.message("a", fmt.Sprint(i), 1)
			}
			p.ping() // nothing more comes
			for i := range n {
				p.acknowledge(packets.Puback, uint16(i+1))
				if i+8 < n {
					p.message("a", fmt.Sprint(i+8), 1)
				}
			}
		}},
		{"4.7.1-1 4.7.1-2 4.7.2-1 4.7.3-4 wildcards, $ and letters", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.subscribe("#", 0)
			p.subscribe("+/b", 0)
			p.subscribe("$hw/+", 0)
			for _, topic := range []string{"$hw/b/c", "$other/b", "$hw/b", "A/b", "/"} {
				p.publish(publishing{topic: topic, payload: topic})
			}
			for _, topic := range []string{"$hw/b", "A/b", "/"} {
				p.message(topic, topic, 0)
			}
			p.ping()
		}},
		{"3.12.4-1 PINGREQ; 4.13.1-1 a packet above the maximum size; a length of five bytes", func(t *testing.T, s *scene) {
			p := s.join(t, connect{id: "x"})
			p.ping()
			p.send([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
			p.ends(s.code(0x95))
			p = s.join(t, connect{id: "x"})
			p.send([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1})
			p.ends(s.code(0x81))
		}},
	}, 3, 4, 5)
}

// will is what stands in CONNECT for a will.
func (s *scene) will(topic, payload string, props ...byte) []byte {
	var b []byte
	if s.version == 5 {
		b = append([]byte{byte(len(props))}, props...)
	}
	return slices.Concat(b, text(topic), text(payload))
}

// TestStatements311 has those of MQTT 3.1.1 alone, with its numbers.
func TestStatements311(t *testing.T) {
	runStatements(t, []statement{
		{"3.1.3-8 an empty identifier needs a clean session", func(t *testing.T, s *scene) {
			if pk := s.open(t, connect{keep: true}).expect(packets.Connack); pk.ReasonCode != 2 {
				t.Errorf("%d", pk.ReasonCode)
			}
			s.join(t, connect{})
		}},
		{"3.1.2-22 a password needs a user name", func(t *testing.T, s *scene) {
			s.open(t, connect{id: "x", flags: 0x40, password: "p"}).ends(0)
		}},
	}, 4)
}

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
