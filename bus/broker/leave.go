package broker

import (
	"errors"
	"time"

	"github.com/edgekit/edgekit/bus/internal/session"
)

// uncount takes a connection out of those that count.
func (b *Broker) uncount(c *conn) {
	if c.counted {
		c.counted = false
		b.clients--
	}
}

// leave separates a connection that ends from its session.
func (b *Broker) leave(c *conn, err error) {
	b.mu.Lock()
	var p *publication
	b.uncount(c)
	if s := c.session; s != nil {
		c.session, s.conn = nil, nil
		b.step(s, session.Event{Kind: session.Disconnected})
		now := time.Now().UnixMilli()
		s.left = now
		if errors.Is(err, errGoodbye) {
			s.will = nil // MQTT-3.14.4-3
		}
		if s.will != nil {
			// At the end of the session at the latest (MQTT 5, 3.1.2.5).
			s.willAt = now + int64(min(s.will.Delay, s.expiry))*1000
			if s.willAt == now {
				p = b.publishWill(s)
			}
		}
		s.endsAt = now + int64(s.expiry)*1000
		if s.expiry == 0 {
			b.endSession(s)
		} else {
			b.dirtySession(s)
			signal(b.sweeps)
		}
	}
	b.mu.Unlock()
	b.call(p)
}

// publishWill publishes the session's will, which is then gone. It needs b.mu. The caller
// passes the result to call.
func (b *Broker) publishWill(s *clientSession) *publication {
	w := s.will
	s.will, s.willAt = nil, 0
	b.dirtySession(s)
	if w == nil || reserved(w.Topic) || !b.allows(s.user, w.Topic, ActionWill) {
		return nil
	}
	p := &publication{Message: session.Message{Topic: w.Topic, Payload: w.Payload, Props: w.Props, QoS: w.QoS, Retain: w.Retain}}
	if w.Expiry > 0 {
		p.Expires = time.Now().UnixMilli() + int64(w.Expiry)*1000
	}
	b.publish(p)
	return b.toProgram(nil, s, p)
}

// handleDisconnect ends a connection as the client wants.
func (b *Broker) handleDisconnect(c *conn, first byte, body []byte) error {
	pk, err := decode(first, body, c.version)
	if err != nil {
		return err
	}
	if c.version == 5 && pk.Properties.SessionExpiryIntervalFlag {
		if c.asked == 0 && pk.Properties.SessionExpiryInterval > 0 {
			return violation("DISCONNECT gives a session an expiry that had none") // MQTT 5, 3.14.2.2.2
		}
		b.mu.Lock()
		if s := c.session; s != nil {
			most := uint32(b.cfg.SessionExpiry / time.Second)
			b.setExpiry(s, min(most, pk.Properties.SessionExpiryInterval))
		}
		b.mu.Unlock()
	}
	// Only the code 0 discards the will (MQTT 5, 3.14.4). mochi 2.7.9 does not see a code that
	// stands alone.
	if c.version == 5 && len(body) > 0 && body[0] != 0 {
		return errWill
	}
	return errGoodbye
}

// errWill ends a connection after a DISCONNECT that wants the will published.
var errWill = errors.New("client disconnected and keeps its will")

// sweepPause is how often the broker looks for retained messages that have expired.
const sweepPause = time.Minute

// sweepLoop ends sessions and publishes wills whose time has come, until done is closed.
func (b *Broker) sweepLoop(done <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-b.sweeps:
		case <-done:
			return
		}
		next := b.sweep()
		if next < 0 {
			timer.Stop()
			continue
		}
		timer.Reset(next)
	}
}

// sweep does what is due and returns when it has to run again; negative if nothing waits.
func (b *Broker) sweep() time.Duration {
	var wills []*publication
	b.mu.Lock()
	now := time.Now().UnixMilli()
	next := int64(-1)
	soonest := func(at int64) {
		if at > 0 && (next < 0 || at < next) {
			next = at
		}
	}
	for _, s := range b.sessions {
		if s.conn != nil {
			continue
		}
		ends := s.endsAt > 0 && now >= s.endsAt
		if s.will != nil && (ends || now >= s.willAt) {
			wills = append(wills, b.publishWill(s))
		}
		if ends {
			b.endSession(s)
			continue
		}
		soonest(s.endsAt)
		soonest(s.willAt)
	}
	if b.expiring > 0 {
		b.retainedFor("#")
		b.retainedFor("$SYS/#") // "#" leaves out what begins with "$"
		soonest(now + sweepPause.Milliseconds())
	}
	b.mu.Unlock()
	for _, p := range wills {
		b.call(p)
	}
	if next < 0 {
		return -1
	}
	return time.Duration(max(0, next-now)+1) * time.Millisecond
}
