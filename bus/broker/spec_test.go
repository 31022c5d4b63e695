package broker_test

import (
	"fmt"
	"slices"
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
