package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// patience bounds each wait of a test for something that must come.
const patience = 2 * time.Minute

// peer is a client whose packets the test writes itself, so that it can misbehave.
type peer struct {
	t       testing.TB
	conn    net.Conn
	version byte
	ack     packets.Packet // CONNACK
}

// connect is what a peer sends first.
type connect struct {
	id       string
	version  byte // 0 means 4
	keep     bool // clean session or clean start is not set
	expiry   uint32
	flags    byte // besides clean
	user     string
	password string
	props    []byte // MQTT 5, besides expiry
	will     []byte // what stands between client identifier and user name
}

func (c connect) packet() []byte {
	if c.version == 0 {
		c.version = 4
	}
	name := "MQTT"
	if c.version == 3 {
		name = "MQIsdp"
	}
	flags := c.flags
	if !c.keep {
		flags |= 2
	}
	body := append(text(name), c.version, flags, 0, 60)
	if c.version == 5 {
		props := c.props
		if c.expiry > 0 {
			props = binary.BigEndian.AppendUint32(append(bytes.Clone(props), 0x11), c.expiry)
		}
		body = append(append(body, byte(len(props))), props...)
	}
	body = append(append(body, text(c.id)...), c.will...)
	if flags&0x80 != 0 {
		body = append(body, text(c.user)...)
	}
	if flags&0x40 != 0 {
		body = append(body, text(c.password)...)
	}
	return frame(0x10, body)
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func frame(first byte, body []byte) []byte {
	out := []byte{first}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			return append(append(out, byte(n)), body...)
		}
		out = append(out, byte(n)|0x80)
	}
}

// open connects and sends CONNECT.
func open(t testing.TB, addr net.Addr, c connect) *peer {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, conn: conn, version: max(c.version, 3)}
	if c.version == 0 {
		p.version = 4
	}
	p.send(c.packet())
	return p
}

// join is open for a client that must be accepted.
func join(t testing.TB, addr net.Addr, c connect) *peer {
	t.Helper()
	p := open(t, addr, c)
	p.ack = p.expect(packets.Connack)
	if p.ack.ReasonCode != 0 {
		t.Fatalf("CONNACK has the code %#x", p.ack.ReasonCode)
	}
	return p
}

func (p *peer) send(packet []byte) {
	p.t.Helper()
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(packet); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// next reads one packet.
func (p *peer) next() (packets.Packet, error) {
	p.conn.SetReadDeadline(time.Now().Add(patience))
	return readPacket(p.conn, p.version)
}

func readPacket(r io.Reader, version byte) (pk packets.Packet, err error) {
	var one [1]byte
	if _, err := io.ReadFull(r, one[:]); err != nil {
		return pk, err
	}
	pk.ProtocolVersion = version
	if err := pk.FixedHeader.Decode(one[0]); err != nil {
		return pk, err
	}
	n, _, err := packets.DecodeLength(oneByte{r})
	if err != nil {
		return pk, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = n
	switch pk.FixedHeader.Type {
	case packets.Connack:
		return pk, pk.ConnackDecode(body)
	case packets.Publish:
		return pk, pk.PublishDecode(body)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return pk, pk.PubackDecode(body)
	case packets.Suback:
		return pk, pk.SubackDecode(body)
	case packets.Unsuback:
		return pk, pk.UnsubackDecode(body)
	case packets.Disconnect:
		return pk, pk.DisconnectDecode(body)
	case packets.Pingresp:
		return pk, nil
	}
	return pk, fmt.Errorf("packet of type %d", pk.FixedHeader.Type)
}

type oneByte struct{ io.Reader }

func (r oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r.Reader, b[:])
	return b[0], err
}

// expect reads one packet, which must be of the kind.
func (p *peer) expect(kind byte) packets.Packet {
	p.t.Helper()
	pk, err := p.next()
	if err != nil || pk.FixedHeader.Type != kind {
		p.t.Fatalf("got %s %+v, %v; want %s", packets.PacketNames[pk.FixedHeader.Type], pk.FixedHeader, err, packets.PacketNames[kind])
	}
	return pk
}

// ends wants the connection to be closed, after a DISCONNECT with the code unless that
// is 0.
func (p *peer) ends(code byte) {
	p.t.Helper()
	if code != 0 {
		if pk := p.expect(packets.Disconnect); pk.ReasonCode != code {
			p.t.Errorf("DISCONNECT has the code %#x, want %#x", pk.ReasonCode, code)
		}
	}
	pk, err := p.next()
	var timeout net.Error
	if err == nil || (errors.As(err, &timeout) && timeout.Timeout()) {
		p.t.Errorf("the connection goes on: %s, %v", packets.PacketNames[pk.FixedHeader.Type], err)
	}
}

// publishing is a PUBLISH.
type publishing struct {
	topic, payload string
	qos            byte
	pid            uint16
	dup, retain    bool
	props          []byte // MQTT 5
}

func (p *peer) publish(m publishing) {
	p.t.Helper()
	first := byte(0x30) | m.qos<<1
	if m.dup {
		first |= 8
	}
	if m.retain {
		first |= 1
	}
	body := text(m.topic)
	if m.qos > 0 {
		body = binary.BigEndian.AppendUint16(body, m.pid)
	}
	if p.version == 5 {
		body = append(append(body, byte(len(m.props))), m.props...)
	}
	p.send(frame(first, append(body, m.payload...)))
}

// subscribe subscribes and returns the reason code.
func (p *peer) subscribe(filter string, options byte, props ...byte) byte {
	p.t.Helper()
	body := []byte{0, 77}
	if p.version == 5 {
		body = append(append(body, byte(len(props))), props...)
	}
	p.send(frame(0x82, append(append(body, text(filter)...), options)))
	ack := p.expect(packets.Suback)
	if ack.PacketID != 77 || len(ack.ReasonCodes) != 1 {
		p.t.Fatalf("SUBACK %+v", ack)
	}
	return ack.ReasonCodes[0]
}

func (p *peer) acknowledge(kind byte, pid uint16) {
	p.t.Helper()
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2
	}
	p.send(binary.BigEndian.AppendUint16([]byte{first, 2}, pid))
}

// ping waits until the broker has handled all packets before it.
func (p *peer) ping() {
	p.t.Helper()
	p.send([]byte{0xc0, 0})
	p.expect(packets.Pingresp)
}

// leave disconnects in order.
func (p *peer) leave() {
	p.t.Helper()
	p.send([]byte{0xe0, 0})
	p.ends(0)
}

// message reads a PUBLISH and checks what it carries.
func (p *peer) message(topic, payload string, qos byte) packets.Packet {
	p.t.Helper()
	pk := p.expect(packets.Publish)
	if pk.TopicName != topic || string(pk.Payload) != payload || pk.FixedHeader.Qos != qos {
		p.t.Fatalf("got %q on %s with QoS %d, want %q on %s with QoS %d", pk.Payload, pk.TopicName, pk.FixedHeader.Qos, payload, topic, qos)
	}
	return pk
}
