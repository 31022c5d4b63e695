package broker

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus/internal/session"
)

const (
	// connectTimeout is how long a new connection may take for its TLS handshake and
	// CONNECT together.
	connectTimeout = 10 * time.Second
	// closeTimeout is how long the last bytes for a client may take.
	closeTimeout = time.Second
	// bufferSize is that of the buffers of busy connections.
	bufferSize = 16 << 10
	// idleBuffer is the read buffer of a connection that waits for its next packet.
	idleBuffer = 256
	// aliases is how many topic aliases a client may use, and how many it gets.
	aliases = 16
)

// conn is one connection. One goroutine reads; it handles each packet with Broker.mu held.
// A second one writes while there is something to write, so that a client that does not
// read blocks nobody.
type conn struct {
	broker   *Broker
	net      net.Conn
	remote   string // host of the address, for the limit
	version  byte   // of MQTT: 3, 4 or 5; 0 before CONNECT; set with mu and Broker.mu
	user     User
	read     []byte // buffer
	start    int    // of what is not yet handled in it
	end      int
	topic    string // of the last PUBLISH, to save an allocation
	loggedIn bool   // CONNECT was read
	maxRead  int    // largest packet
	timeout  time.Duration
	expires  time.Time // read deadline that is set
	known    []string  // topics of the client's aliases
	asked    uint32    // session expiry that the client asked for

	// Broker.mu guards these.
	session   *clientSession // nil before CONNECT and after a takeover
	unsettled int            // packets that wait for a commit
	counted   bool           // it is one of Broker.clients
	ignored   bool           // nothing more that it sends counts: its login is no longer valid, or the client comes back
	waiting   bool           // it is one of Broker.pending

	mu        sync.Mutex
	out       []byte  // to be written
	lent      *[]byte // the pool's buffer that out began with
	inWrite   int     // bytes that the writer holds
	writing   bool    // the writer runs
	ended     bool    // nothing is written any more, except what is in out
	broken    bool    // nothing is written at all
	starved   bool    // the session has more to send when there is room
	maxPacket int     // that the client takes
	maxAlias  int     // topic aliases that the client takes
	aliased   map[string]uint16
	writers   sync.WaitGroup // added to with mu, while not ended
}

// served is the session that gets what c sends; nil if that does not count any more. It needs
// Broker.mu.
func (c *conn) served() *clientSession {
	if c.ignored {
		return nil
	}
	return c.session
}

// roomLocked reports whether more may be queued. It needs c.mu.
func (c *conn) roomLocked() bool {
	return !c.ended && len(c.out)+c.inWrite < c.broker.cfg.WriteBuffer
}

// publishLocked queues a message. It reports false if the client does not take it for
// its size. It needs c.mu.
func (c *conn) publishLocked(e session.Entry, pid uint16, dup bool, now int64) bool {
	o := outPublish{Entry: e, pid: pid, dup: dup, version: c.version, now: now, limit: c.maxPacket}
	fresh := false
	if c.maxAlias > 0 {
		if alias, ok := c.aliased[e.Message.Topic]; ok {
			o.alias, o.bare = alias, true
		} else if len(c.aliased) < c.maxAlias {
			fresh, o.alias = true, uint16(len(c.aliased)+1)
		}
	}
	c.borrowLocked()
	out, fits := o.append(c.out)
	if !fits {
		return false
	}
	if fresh {
		if c.aliased == nil {
			c.aliased = make(map[string]uint16)
		}
		c.aliased[string([]byte(e.Message.Topic))] = o.alias
	}
	c.out = out
	c.broker.counters.sent.Add(1)
	c.wakeLocked()
	return true
}

// send queues a packet.
func (c *conn) send(packet []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.borrowLocked()
		c.out = append(c.out, packet...)
		c.wakeLocked()
	}
}

// acknowledge queues a PUBACK, PUBREC, PUBREL or PUBCOMP. MQTT 3 has no reason codes.
func (c *conn) acknowledge(kind byte, pid uint16, code byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.borrowLocked()
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2 // MQTT-3.6.1-1
	}
	if c.version == 5 && code != 0 {
		c.out = append(binary.BigEndian.AppendUint16(append(c.out, first, 3), pid), code)
	} else {
		c.out = binary.BigEndian.AppendUint16(append(c.out, first, 2), pid)
	}
	c.wakeLocked()
}

// borrowLocked takes a buffer for out if it has none.
func (c *conn) borrowLocked() {
	if c.out == nil {
		c.lent, _ = c.broker.buffers.Get().(*[]byte)
		c.out = (*c.lent)[:0]
	}
}

func (c *conn) wakeLocked() {
	if !c.writing && !c.ended {
		c.writing = true
		c.writers.Go(c.write)
	}
}

// write is the writer. It ends when nothing is left to write. All bytes that wait while
// the socket is busy go in one system call.
func (c *conn) write() {
	c.mu.Lock()
	for len(c.out) > 0 && !c.broken {
		out, lent := c.out, c.lent
		c.out, c.lent, c.inWrite = nil, nil, len(out)
		c.mu.Unlock()
		_, err := c.net.Write(out)
		if lent != nil {
			c.broker.buffers.Put(lent)
		}
		c.mu.Lock()
		c.inWrite = 0
		if err != nil {
			c.ended, c.broken = true, true
			c.cut() // ends the reader
		}
		if c.starved && !c.ended {
			c.starved = false
			c.mu.Unlock()
			c.resume()
			c.mu.Lock()
		}
	}
	c.writing = false
	if c.ended {
		c.cut() // everything is written, or cannot be
	}
	c.mu.Unlock()
}

// resume lets the session send what had no room.
func (c *conn) resume() {
	c.broker.mu.Lock()
	defer c.broker.mu.Unlock()
	if c.session != nil {
		c.broker.pump(c.session)
	}
}

// disconnect sends a DISCONNECT with the code to an MQTT 5 client, and ends the connection
// when it is written. Code 0 sends nothing.
func (c *conn) disconnect(code byte) {
	c.mu.Lock()
	version := c.version
	c.mu.Unlock()
	var packet []byte
	if version == 5 && code != 0 {
		packet = []byte{packets.Disconnect << 4, 2, code, 0}
	}
	c.finish(packet)
}

// finish queues a last packet and ends the connection when all is written.
func (c *conn) finish(last []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	if len(last) > 0 {
		c.borrowLocked()
		c.out = append(c.out, last...)
		c.wakeLocked()
	}
	c.ended = true
	past := time.Unix(1, 0)
	_ = c.net.SetReadDeadline(past) // ends the reader; fails only if the connection is closed
	_ = c.net.SetWriteDeadline(time.Now().Add(closeTimeout))
	if !c.writing {
		c.cut()
	}
}

// cut closes the connection without waiting: closing TLS would write, perhaps for seconds,
// while locks are held.
func (c *conn) cut() {
	raw := c.net
	if t := c.tls(); t != nil {
		raw = t.NetConn()
	}
	_ = raw.Close() // there is nothing to do about an error
}

// join ends the connection and waits for the writer.
func (c *conn) join() {
	c.finish(nil)
	c.writers.Wait()
	_ = c.net.Close() // it has ended either way
}
