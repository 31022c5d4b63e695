package broker_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// crashClient is a client with a kept session.
type crashClient struct {
	s    *crashScene
	id   string
	r    *rand.Rand
	conn net.Conn
	in   *bufio.Reader
	left int  // packets until the client ends its connection
	had  bool // it has a session
}

func (s *crashScene) client(id string, seed uint64) crashClient {
	return crashClient{s: s, id: id, r: rand.New(rand.NewPCG(seed, uint64(id[0])<<8|uint64(id[len(id)-1])))}
}

// connect dials until a broker answers. Every now and then the old connection stays open.
func (c *crashClient) connect() bool {
	for c.s.ctx.Err() == nil {
		if c.conn != nil && c.r.IntN(3) > 0 {
			c.conn.Close()
		}
		if c.dial() {
			return true
		}
		pauseShort(c.s.ctx)
	}
	return false
}

func (c *crashClient) dial() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.addr == nil {
		return false
	}
	conn, err := net.Dial(c.s.addr.Network(), c.s.addr.String())
	if err != nil {
		return false
	}
	context.AfterFunc(c.s.ctx, func() { conn.Close() })
	c.s.conns[conn] = struct{}{}
	c.conn, c.in = conn, bufio.NewReader(conn)
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write(connect{id: c.id, keep: true, version: c.s.version, expiry: 3600}.packet())
	c.left = 1 + c.r.IntN(60)
	return true
}

// welcomed reads CONNACK. The session must be there if there was one.
func (c *crashClient) welcomed() bool {
	pk, err := readPacket(c.in, c.s.version)
	if err != nil || pk.FixedHeader.Type != packets.Connack || pk.ReasonCode != 0 {
		return false
	}
	if c.had && !pk.SessionPresent {
		c.s.faults <- c.id + " has lost its session"
	}
	return true
}

// next reads a packet, or ends the connection.
func (c *crashClient) next() (packets.Packet, bool) {
	if c.left--; c.left < 0 {
		return packets.Packet{}, false
	}
	pk, err := readPacket(c.in, c.s.version)
	return pk, err == nil
}

func (c *crashClient) ack(kind byte, pid uint16) {
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2
	}
	c.conn.Write(binary.BigEndian.AppendUint16([]byte{first, 2}, pid)) // an error shows at the next read
}

// crashPublisher publishes messages of QoS 1 and 2.
type crashPublisher struct {
	crashClient
	flight []crashFlight // in the order in which they were sent
	sent   int
}

type crashFlight struct {
	pid      uint16
	qos      byte
	payload  string
	received bool // PUBREC has come
}

func (p *crashPublisher) run() {
	for p.connect() {
		if !p.welcomed() {
			continue
		}
		for _, f := range p.flight {
			if f.received {
				p.ack(packets.Pubrel, f.pid)
			} else {
				p.send(f, 8)
			}
		}
		if p.serve() {
			p.conn.Close()
			return
		}
	}
}

// serve publishes until the connection ends; it is true when all is done.
func (p *crashPublisher) serve() bool {
	for {
		for len(p.flight) < 6 && p.sent < p.s.each && p.r.IntN(4) > 0 {
			f := crashFlight{pid: p.free(), qos: byte(1 + p.r.IntN(2))}
			f.payload = fmt.Sprintf("%s/%d/%d", p.id, f.qos, p.sent)
			p.sent++
			p.flight = append(p.flight, f)
			p.send(f, 0)
		}
		if len(p.flight) == 0 {
			if p.sent == p.s.each {
				return true
			}
			continue
		}
		pk, ok := p.next()
		if !ok {
			return false
		}
		p.handle(pk)
	}
}

// free is an identifier that is not in use, the lowest or the next one.
func (p *crashPublisher) free() uint16 {
	for pid := uint16(1 + p.r.IntN(8)); ; pid = pid%8 + 1 {
		used := false
		for _, f := range p.flight {
			used = used || f.pid == pid
		}
		if !used {
			return pid
		}
	}
}

func (p *crashPublisher) send(f crashFlight, dup byte) {
	body := binary.BigEndian.AppendUint16(text("crash/t"), f.pid)
	if p.s.version == 5 {
		body = append(body, 0)
	}
	p.conn.Write(frame(0x30|f.qos<<1|dup, append(body, f.payload...)))
}

func (p *crashPublisher) handle(pk packets.Packet) {
	p.had = true
	for i := range p.flight {
		f := &p.flight[i]
		if f.pid != pk.PacketID {
			continue
		}
		switch pk.FixedHeader.Type {
		case packets.Pubrec:
			f.received = true
			p.ack(packets.Pubrel, f.pid)
		case packets.Puback, packets.Pubcomp:
			p.flight = append(p.flight[:i], p.flight[i+1:]...)
		}
		p.s.progress.Add(1)
		return
	}
}

// crashReader reads all messages.
type crashReader struct {
	crashClient
	subscribed atomic.Bool
	seen       map[string]int
	open       map[uint16]string // messages of QoS 2 that are not released
	late       []func()          // acknowledgements
}

func (c *crashReader) run() {
	c.seen, c.open = make(map[string]int), make(map[uint16]string)
	for c.connect() {
		c.late = nil
		if !c.welcomed() {
			continue
		}
		if !c.subscribed.Load() {
			c.left = 1000
			c.conn.Write(frame(0x82, c.subscription()))
		}
		for len(c.seen) < 2*c.s.each || len(c.open) > 0 {
			pk, ok := c.next()
			if !ok {
				break
			}
			c.handle(pk)
			if c.in.Buffered() == 0 || c.r.IntN(3) == 0 {
				for _, ack := range c.late {
					ack()
				}
				c.late = nil
			}
		}
		if len(c.seen) >= 2*c.s.each && len(c.open) == 0 {
			c.conn.Close()
			return
		}
	}
}

func (c *crashReader) subscription() []byte {
	body := []byte{0, 1}
	if c.s.version == 5 {
		body = append(body, 0)
	}
	return append(append(body, text("crash/#")...), 2)
}

func (c *crashReader) handle(pk packets.Packet) {
	pid := pk.PacketID
	switch pk.FixedHeader.Type {
	case packets.Suback:
		c.had = true
		c.subscribed.Store(true)
	case packets.Publish:
		payload := string(pk.Payload)
		if pk.FixedHeader.Qos == 1 {
			c.seen[payload]++
			c.late = append(c.late, func() { c.ack(packets.Puback, pid) })
			break
		}
		switch before, again := c.open[pid]; {
		case again && before != payload:
			c.s.faults <- fmt.Sprintf("%s: %s comes under the identifier of %s", c.id, payload, before)
		case !again:
			c.open[pid] = payload
			if c.seen[payload]++; c.seen[payload] > 1 {
				c.s.faults <- fmt.Sprintf("%s: %s comes twice", c.id, payload)
			}
		}
		c.late = append(c.late, func() { c.ack(packets.Pubrec, pid) })
	case packets.Pubrel:
		delete(c.open, pid)
		c.late = append(c.late, func() { c.ack(packets.Pubcomp, pid) })
	}
	c.s.progress.Add(1)
}
