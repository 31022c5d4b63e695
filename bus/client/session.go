package client

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"
	store "github.com/eclipse/paho.golang/paho/store/memory"
)

// memory is paho's session state with one rule changed. When the broker has lost the session
// (it was restarted, or the session expired), paho discards the messages that were sent and
// not acknowledged, as MQTT 5 says (4.1). The program still needs them sent, so memory puts
// them back at the head of the outbox, in their order.
type memory struct {
	session.SessionManager
	outbox  *outbox
	inbound *inbound        // what the broker has sent with QoS 2, on the disk; nil if it is not kept there
	refused func(code byte) // called for each message that the broker answers with an error

	// life is held for reading while a message gets into the session, and for writing while the
	// session goes to a new connection. paho does not order the two: a message that was on its
	// way to the old connection would get into the new one's session and never be sent.
	life sync.RWMutex

	// link is held for reading while a PUBREC is handled: paho writes the answer to the session's
	// connection, and does not look whether the connection has ended.
	link      sync.RWMutex
	connected bool

	mu      sync.Mutex
	unacked []unacked // in the order in which they were sent
}

type unacked struct {
	id     uint16
	packet []byte          // encoded
	done   func(code byte) // called with the broker's answer; may be nil
	sent   time.Time
}

func newMemory(outbox *outbox, inbound *inbound, refused func(byte)) *memory {
	m := &memory{SessionManager: state.NewInMemory(), outbox: outbox, inbound: inbound, refused: refused}
	if inbound != nil {
		m.SessionManager = state.New(store.New(), serverStore{inbound})
	}
	return m
}

// Ack acknowledges a message that was delivered. PUBREC waits until the disk knows the message;
// paho would store that after it has sent PUBREC.
func (m *memory) Ack(p *packets.Publish) error {
	if !m.inbound.put(p) {
		return nil // it comes again
	}
	return m.SessionManager.Ack(p)
}

// AddToSession remembers a message of QoS 1 or 2 before it is sent.
func (m *memory) AddToSession(ctx context.Context, p session.Packet, resp chan<- packets.ControlPacket) error {
	publish, ok := p.(*packets.Publish)
	var done func(byte)
	if ok { // the outbox alone publishes
		m.life.RLock()
		defer m.life.RUnlock()
		var err error
		if done, err = m.outbox.confirms(); err != nil {
			return err
		}
	}
	if err := m.SessionManager.AddToSession(ctx, p, resp); err != nil {
		return err
	}
	if ok {
		var b bytes.Buffer
		if _, err := publish.WriteTo(&b); err != nil {
			return err
		}
		m.mu.Lock()
		m.outbox.taken()
		m.unacked = append(m.unacked, unacked{id: publish.PacketID, packet: b.Bytes(), done: done, sent: time.Now()})
		m.mu.Unlock()
	}
	return nil
}

// PacketReceived removes a message when the broker has it. For QoS 2 that is when
// PUBREC arrives: sent again after that it would be a duplicate. It keeps inbound in step too.
func (m *memory) PacketReceived(p *packets.ControlPacket, out chan<- *packets.Publish) error {
	switch p.Type {
	case packets.PUBLISH:
		if publish, ok := p.Content.(*packets.Publish); ok {
			m.inbound.compare(publish)
		}
	case packets.PUBREL:
		if release, ok := p.Content.(*packets.Pubrel); ok && !m.inbound.remove(release.PacketID) {
			return nil // it comes again
		}
	case packets.PUBACK, packets.PUBREC:
		id := p.PacketID()
		var done func(byte)
		m.mu.Lock()
		if i := slices.IndexFunc(m.unacked, func(u unacked) bool { return u.id == id }); i >= 0 {
			done = m.unacked[i].done
			m.unacked = slices.Delete(m.unacked, i, i+1)
		}
		m.mu.Unlock()
		code := answerCode(p)
		if code >= 0x80 {
			m.refused(code)
		}
		if done != nil {
			done(code)
		}
	}
	if p.Type != packets.PUBREC {
		return m.SessionManager.PacketReceived(p, out)
	}
	m.link.RLock() // paho closes the connection before ConnectionLost, which ends a write that hangs
	defer m.link.RUnlock()
	if !m.connected {
		return nil // the message is sent again, and so is PUBREC
	}
	return m.SessionManager.PacketReceived(p, out)
}

// ConnectionLost ends the session's connection.
func (m *memory) ConnectionLost(p *packets.Disconnect) error {
	m.link.Lock()
	defer m.link.Unlock()
	m.connected = false
	return m.SessionManager.ConnectionLost(p)
}

// oldest is when the message was sent that waits longest for the broker; zero if none does.
func (m *memory) oldest() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.unacked) == 0 {
		return time.Time{}
	}
	return m.unacked[0].sent
}

// answerCode is the reason code of a PUBACK or PUBREC.
func answerCode(p *packets.ControlPacket) byte {
	switch c := p.Content.(type) {
	case *packets.Puback:
		return c.ReasonCode
	case *packets.Pubrec:
		return c.ReasonCode
	}
	return 0
}

// ConAckReceived queues the unacknowledged messages again if the broker no longer
// has the session.
func (m *memory) ConAckReceived(w io.Writer, connect *packets.Connect, ack *packets.Connack) error {
	m.life.Lock() // waits for an AddToSession that waits for its turn: packetTimeout at most
	defer m.life.Unlock()
	if !ack.SessionPresent {
		m.mu.Lock()
		lost := m.unacked
		m.unacked = nil
		m.mu.Unlock()
		m.outbox.putBack(lost)
	}
	m.link.Lock()
	m.connected = true // paho reads on when this has returned
	m.link.Unlock()
	return m.SessionManager.ConAckReceived(w, connect, ack)
}
