package broker

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// maxConnect is the largest first packet in bytes: a will, a user name, a token.
const maxConnect = 32 << 10

// packet reads the next packet. body is valid until the next call.
func (c *conn) packet() (first byte, body []byte, err error) {
	for {
		size, header, err := c.header()
		if err != nil {
			return 0, nil, err
		}
		if size > 0 && c.end-c.start >= size {
			first, body = c.read[c.start], c.read[c.start+header:c.start+size]
			c.start += size
			return first, body, nil
		}
		if err := c.fill(size); err != nil {
			return 0, nil, err
		}
	}
}

// errNoConnect ends a connection without an answer (MQTT-3.1.0-1).
var errNoConnect = errors.New("first packet is not CONNECT")

// header reads the fixed header of the packet at start: the sizes of the packet and of the
// header; 0 if there are too few bytes to know.
func (c *conn) header() (size, header int, err error) {
	if !c.loggedIn && c.end > c.start && c.read[c.start] != packets.Connect<<4 {
		return 0, 0, errNoConnect
	}
	n, shift := 0, 0
	for i := c.start + 1; i < c.end; i++ {
		n |= int(c.read[i]&0x7f) << shift
		if c.read[i]&0x80 == 0 {
			header = i + 1 - c.start
			if n+header > c.maxRead {
				return 0, 0, &packetError{codePacketTooLarge, "packet is too large"}
			}
			return n + header, header, nil
		}
		if shift += 7; shift > 21 {
			return 0, 0, malformed("length has more than four bytes") // MQTT 5, 1.5.5
		}
	}
	return 0, 0, nil
}

// fill reads more bytes. size is that of the packet at start; 0 if it is not known. The
// buffer grows with what was received, never with what was announced.
func (c *conn) fill(size int) error {
	have := c.end - c.start
	switch {
	case have == 0 && len(c.read) > idleBuffer && c.end < len(c.read)/4:
		c.giveBack()
		c.read = make([]byte, idleBuffer)
		c.start, c.end = 0, 0
	case have == 0 && c.end < len(c.read):
		c.start, c.end = 0, 0
	case c.end < len(c.read): // there is room
	case c.start > 0 && have < len(c.read)/2 && len(c.read) >= bufferSize:
		copy(c.read, c.read[c.start:c.end])
		c.start, c.end = 0, have
	default:
		c.grow(have, size)
	}
	return c.receive()
}

// grow takes a larger buffer.
func (c *conn) grow(have, size int) {
	want := max(2*have, bufferSize)
	if size > 0 {
		want = min(want, max(size, bufferSize))
	}
	if !c.loggedIn {
		want = max(2*have, 4*idleBuffer)
	}
	want = min(want, c.maxRead+8)
	var next []byte
	if want == bufferSize {
		lent, _ := c.broker.buffers.Get().(*[]byte)
		next = *lent
	} else {
		next = make([]byte, want)
	}
	copy(next, c.read[c.start:c.end])
	c.giveBack()
	c.read, c.start, c.end = next, 0, have
}

// giveBack returns a buffer to the pool.
func (c *conn) giveBack() {
	if len(c.read) == bufferSize {
		buf := c.read
		c.broker.buffers.Put(&buf)
	}
	c.read = nil
}

// receive reads from the connection.
func (c *conn) receive() error {
	if c.timeout > 0 {
		// Setting a deadline costs more than a small packet: it may be a quarter late.
		if now := time.Now(); c.expires.Sub(now) < c.timeout*3/4 {
			c.expires = now.Add(c.timeout)
			if err := c.net.SetReadDeadline(c.expires); err != nil {
				return err
			}
			c.mu.Lock()
			if c.ended { // finish has set its own deadline meanwhile
				c.mu.Unlock()
				return io.EOF
			}
			c.mu.Unlock()
		}
	}
	n, err := c.net.Read(c.read[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &packetError{codeKeepalive, "client was silent for too long"}
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// serve is the reader of a connection, from CONNECT to its end.
func (b *Broker) serve(c *conn) {
	defer c.giveBack()
	err := b.login(c)
	for err == nil {
		var first byte
		var body []byte
		if first, body, err = c.packet(); err == nil {
			err = b.handle(c, first, body)
		}
	}
	b.leave(c, err)
	c.disconnect(reasonCode(err))
	c.join()
	if !errors.Is(err, io.EOF) && !errors.Is(err, errGoodbye) && !errors.Is(err, errWill) {
		b.log.Debug("MQTT connection ended", "remote", c.remote, "err", err)
	}
}

// errGoodbye ends a connection after DISCONNECT.
var errGoodbye = errors.New("client disconnected")

// handle does what one packet asks for.
func (b *Broker) handle(c *conn, first byte, body []byte) error {
	switch kind := first >> 4; kind {
	case packets.Publish:
		return b.handlePublish(c, first, body)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return b.handleAck(c, first, body)
	case packets.Subscribe:
		return b.handleSubscribe(c, first, body)
	case packets.Unsubscribe:
		return b.handleUnsubscribe(c, first, body)
	case packets.Pingreq:
		if first&15 != 0 || len(body) > 0 {
			return malformed("PINGREQ is not empty")
		}
		c.send([]byte{packets.Pingresp << 4, 0})
		return nil
	case packets.Disconnect:
		return b.handleDisconnect(c, first, body)
	case packets.Connect:
		return violation("a second CONNECT") // MQTT-3.1.0-2
	case packets.Auth:
		if c.version == 5 {
			return violation("AUTH without an authentication method")
		}
	}
	return violation("packet type is not for a broker")
}
