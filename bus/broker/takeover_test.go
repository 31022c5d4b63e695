package broker_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
)

// TestTakeOver has a client come back under its identifier at once, thousands of times, in
// three ways. After each SUBACK every message arrives, and of a kept session none is lost.
func TestTakeOver(t *testing.T) {
	b, _ := start(t, broker.Config{})
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep %v", keep), func(t *testing.T) {
			c := connect{id: "mapper", keep: keep}
			p := join(t, b.Addr(), c)
			p.subscribe("t", 1)
			for i := range 2000 {
				switch i % 3 {
				case 0:
					p.conn.Close()
				case 1:
					p.conn.(*net.TCPConn).SetLinger(0)
					p.conn.Close()
				}
				text := fmt.Sprint(i)
				if keep { // published between the connections
					if err := b.Publish(t.Context(), bus.Message{Topic: "t", Payload: []byte(text), QoS: 1}); err != nil {
						t.Fatal(err)
					}
				}
				old := p
				p = join(t, b.Addr(), c)
				if !keep {
					p.subscribe("t", 1)
					if err := b.Publish(t.Context(), bus.Message{Topic: "t", Payload: []byte(text), QoS: 1}); err != nil {
						t.Fatal(err)
					}
				}
				m := p.message("t", text, 1)
				p.acknowledge(packets.Puback, m.PacketID)
				p.ping()
				old.conn.Close()
			}
		})
	}
}

// model is what two clients must see, in the simplest form: what each may still get.
type model struct {
	filters [2]map[string]bool
	waiting [2][]string // payloads that it must get, in order
	seen    [2]map[string]bool
	open    [2]map[uint16]string // QoS 2 messages that are not released
}

// TestModel has two clients with kept sessions do random things, and compares with the
// model. Each publishes to topics that both may have subscribed to.
func TestModel(t *testing.T) {
	filters := []string{"a/b", "a/+", "#", "a/c", "+/b"}
	topics := []string{"a/b", "a/c", "b/b", "$x/b"}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			b, _ := start(t, broker.Config{MaxInflight: 5})
			m := model{filters: [2]map[string]bool{{}, {}}, seen: [2]map[string]bool{{}, {}}, open: [2]map[uint16]string{{}, {}}}
			var peers [2]*peer
			for i := range peers {
				peers[i] = join(t, b.Addr(), connect{id: fmt.Sprint("c", i), keep: true})
			}
			for step := range 300 {
				who := r.IntN(2)
				if peers[who] == nil {
					peers[who] = join(t, b.Addr(), connect{id: fmt.Sprint("c", who), keep: true})
					if !peers[who].ack.SessionPresent {
						t.Fatal("the session is gone")
					}
				}
				switch p := peers[who]; r.IntN(6) {
				case 0:
					f := filters[r.IntN(len(filters))]
					m.take(peers[who], who)
					p.send(frame(0x82, append(append([]byte{0, 9}, text(f)...), 2)))
					m.until(p, who, packets.Suback)
					m.filters[who][f] = true
				case 1:
					f := filters[r.IntN(len(filters))]
					m.take(peers[who], who)
					p.send(frame(0xa2, append([]byte{0, 9}, text(f)...)))
					m.until(p, who, packets.Unsuback)
					delete(m.filters[who], f)
				case 2, 3:
					m.take(peers[who], who)
					topic, payload := topics[r.IntN(len(topics))], fmt.Sprint(seed, "/", step)
					m.publish(topic, payload)
					if err := b.Publish(t.Context(), bus.Message{Topic: topic, Payload: []byte(payload), QoS: bus.QoS(1 + r.IntN(2))}); err != nil {
						t.Fatal(err)
					}
				case 4:
					p.conn.Close() // perhaps with messages in flight
					peers[who] = nil
				case 5:
					m.take(peers[who], who)
				}
			}
			for who := range peers {
				if peers[who] == nil {
					peers[who] = join(t, b.Addr(), connect{id: fmt.Sprint("c", who), keep: true})
				}
				m.take(peers[who], who)
				for range 3 { // acknowledgements of acknowledgements
					peers[who].send([]byte{0xc0, 0})
					m.until(peers[who], who, packets.Pingresp)
				}
			}
			if q := b.Stats().QueuedBytes; q != 0 {
				t.Errorf("%d bytes are queued for nobody", q)
			}
		})
	}
}

func (m *model) publish(topic, payload string) {
	for i, filters := range m.filters {
		for f := range filters {
			if bus.Match(f, topic) {
				m.waiting[i] = append(m.waiting[i], payload)
				break
			}
		}
	}
}

// take reads and acknowledges all that waits for the client.
func (m *model) take(p *peer, who int) {
	p.t.Helper()
	for len(m.waiting[who]) > 0 {
		m.handle(p, who, p.any())
	}
}

// until reads up to a packet of the kind.
func (m *model) until(p *peer, who int, kind byte) {
	p.t.Helper()
	for pk := p.any(); pk.FixedHeader.Type != kind; pk = p.any() {
		m.handle(p, who, pk)
	}
}

// handle acknowledges a message. One that the client has seen may come again, with DUP, if
// a connection ended before its acknowledgement was read; of QoS 2 under its identifier.
func (m *model) handle(p *peer, who int, pk packets.Packet) {
	p.t.Helper()
	payload := string(pk.Payload)
	switch pk.FixedHeader.Type {
	case packets.Pubrel:
		delete(m.open[who], pk.PacketID)
		p.acknowledge(packets.Pubcomp, pk.PacketID)
	case packets.Publish:
		again := pk.FixedHeader.Dup && m.seen[who][payload]
		if again && pk.FixedHeader.Qos == 2 && m.open[who][pk.PacketID] != payload {
			p.t.Fatalf("%s of QoS 2 comes twice", payload)
		}
		if !again {
			if len(m.waiting[who]) == 0 || payload != m.waiting[who][0] {
				p.t.Fatalf("got %s, want %v", payload, m.waiting[who])
			}
			m.waiting[who] = m.waiting[who][1:]
			m.seen[who][payload] = true
		}
		if pk.FixedHeader.Qos == 1 {
			p.acknowledge(packets.Puback, pk.PacketID)
		} else {
			m.open[who][pk.PacketID] = payload
			p.acknowledge(packets.Pubrec, pk.PacketID)
		}
	}
}

// any reads one packet of any kind.
func (p *peer) any() packets.Packet {
	p.t.Helper()
	pk, err := p.next()
	if err != nil {
		p.t.Fatal(err)
	}
	return pk
}

// TestShare is the program's side of shared subscriptions.
func TestShare(t *testing.T) {
	b, _ := start(t, broker.Config{})
	var got [2]strings.Builder
	for i := range got {
		if _, err := b.Subscribe("$share/g/a", func(m bus.Message) { got[i].Write(m.Payload) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, payload := range []string{"1", "2", "3", "4"} {
		if err := b.Publish(t.Context(), bus.Message{Topic: "a", Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	if got[0].String() != "13" || got[1].String() != "24" {
		t.Errorf("%q and %q", got[0].String(), got[1].String())
	}
}
