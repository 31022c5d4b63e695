package broker

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/journal"
	"github.com/edgekit/edgekit/bus/internal/session"
	"github.com/edgekit/edgekit/bus/internal/wsframe"
)

// login reads CONNECT, checks who the client is, gives it its session, and answers.
func (b *Broker) login(c *conn) error {
	deadline := time.Now().Add(connectTimeout)
	if err := c.net.SetDeadline(deadline); err != nil {
		return err
	}
	c.maxRead = maxConnect
	first, body, err := c.packet()
	if err != nil {
		return err
	}
	pk, err := decode(first, body, 0)
	if err == nil {
		err = checkConnect(&pk)
	}
	version := min(pk.ProtocolVersion, 5)
	if err != nil {
		return b.refuse(c, version, err)
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline) // the connection's, not Run's: it ends with CONNECT
	user, err := b.authenticate(ctx, c, &pk)
	cancel()
	if err != nil {
		return b.refuse(c, version, err)
	}
	if err := c.net.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.user, c.maxRead, c.loggedIn = user, b.cfg.MaxPacket, true
	keepalive := time.Duration(pk.Connect.Keepalive) * time.Second
	if most := b.cfg.MaxKeepalive; most > 0 && (keepalive == 0 || keepalive > most) && version == 5 {
		keepalive = most.Truncate(time.Second)
	}
	c.timeout = keepalive * 3 / 2 // MQTT-3.1.2-22
	will, err := b.attach(c, &pk, keepalive)
	b.call(will)
	if err != nil {
		return b.refuse(c, version, err)
	}
	return nil
}

// checkConnect checks what mochi's decoder does not. Its ConnectValidate also refuses a will
// without payload and an empty password, which are allowed.
func checkConnect(pk *packets.Packet) error {
	p := &pk.Connect
	v, name := pk.ProtocolVersion, string(p.ProtocolName)
	switch {
	case (name != "MQTT" && name != "MQIsdp") || (name == "MQIsdp" && v != 3) || (name == "MQTT" && v != 4 && v != 5):
		return &packetError{codeVersion, "protocol version is not 3.1, 3.1.1 or 5"} // MQTT-3.1.2-2
	case pk.ReservedBit != 0:
		return malformed("reserved flag of CONNECT is set") // MQTT-3.1.2-3
	case p.WillQos > 2, !p.WillFlag && (p.WillQos > 0 || p.WillRetain):
		return malformed("will flags of CONNECT are wrong") // MQTT-3.1.2-11 to 3.1.2-14
	case v < 5 && p.PasswordFlag && !p.UsernameFlag:
		return malformed("password without a user name") // MQTT 3.1.1, 3.1.2-22
	case p.WillFlag && bus.ValidateTopic(p.WillTopic) != nil:
		return &packetError{codeTopic, "will topic is not valid"}
	case pk.Properties.AuthenticationMethod != "":
		return &packetError{codeAuthMethod, "enhanced authentication is not supported"} // MQTT 5, 4.12
	case v < 5 && p.ClientIdentifier == "" && !p.Clean:
		return &packetError{codeClientID, "client identifier is empty and the session is to be kept"} // MQTT 3.1.1, 3.1.3-8
	}
	return nil
}

// authenticate asks Access who the client is.
func (b *Broker) authenticate(ctx context.Context, c *conn, pk *packets.Packet) (User, error) {
	if b.cfg.Access == nil {
		return User{}, nil
	}
	login := Login{
		ClientID: pk.Connect.ClientIdentifier, Username: string(pk.Connect.Username), Password: pk.Connect.Password,
		Remote: c.net.RemoteAddr(), Local: c.net.LocalAddr(),
	}
	if t := c.tls(); t != nil {
		login.Certificates = t.ConnectionState().PeerCertificates
	}
	user, err := b.cfg.Access.Authenticate(ctx, login)
	switch {
	case errors.Is(err, ErrPassword):
		return User{}, &packetError{codePassword, err.Error()}
	case err != nil:
		return User{}, &packetError{codeNotAuthorized, err.Error()}
	}
	return user, nil
}

// tls is the TLS connection below c; nil without TLS.
func (c *conn) tls() *tls.Conn {
	inner := c.net
	if w, ok := inner.(*wsframe.Conn); ok {
		inner = w.Inner()
	}
	t, _ := inner.(*tls.Conn)
	return t
}

// refuse answers a CONNECT with an error.
func (b *Broker) refuse(c *conn, version byte, err error) error {
	code := reasonCode(err)
	b.counters.refused.Add(1)
	switch {
	case code == 0:
	case version == 5:
		c.finish([]byte{packets.Connack << 4, 3, 0, code, 0})
	default: // the few codes of MQTT 3.1.1 (3.2.2.3); for other faults the connection just ends
		old := map[byte]byte{codeVersion: 1, codeClientID: 2, codeBusy: 3, codeQuota: 3, codePassword: 5, codeNotAuthorized: 5}[code]
		if old > 0 {
			c.finish([]byte{packets.Connack << 4, 2, 0, old})
		}
	}
	c.finish(nil)
	return fmt.Errorf("refused: %w", err)
}

// attach gives the connection its session and sends CONNACK. An older connection with the
// client identifier loses the session in the same step, so that no message falls between.
func (b *Broker) attach(c *conn, pk *packets.Packet, keepalive time.Duration) (will *publication, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, assigned := pk.Connect.ClientIdentifier, ""
	if id == "" {
		id = "auto-" + rand.Text()
		assigned = id
	}
	late := b.waitForCalls(id, c.user)
	s := b.sessions[id]
	switch {
	case !b.running:
		return nil, &packetError{codeShuttingDown, "broker ends"}
	case late:
		return nil, &packetError{codeBusy, "earlier messages of the client wait for the storage"}
	case id == outletID:
		return nil, &packetError{codeClientID, "client identifier is the broker's own"}
	case !b.valid(c.user, id): // it has changed since authenticate
		return nil, &packetError{codeNotAuthorized, "user, password or rule was changed"}
	case s != nil && s.user.Name != c.user.Name:
		return nil, &packetError{codeNotAuthorized, "client identifier belongs to another user"}
	case b.clients >= b.cfg.MaxClients && (s == nil || s.conn == nil):
		b.bound("clients", "MQTT clients are refused: as many as allowed are connected")
		return nil, &packetError{codeBusy, "too many clients"}
	}
	if s != nil {
		will = b.takeOver(s, pk.Connect.Clean)
		if pk.Connect.Clean || s.expiry == 0 { // MQTT-3.1.2-4; its end was the end of its connection
			b.endSession(s)
			s = nil
		}
	}
	present := s != nil
	if !present {
		b.lastID++
		s = &clientSession{id: strings.Clone(id), number: b.lastID, user: c.user, subs: make(map[string]options)}
		b.sessions[s.id] = s
	}
	c.mu.Lock()
	c.version = pk.ProtocolVersion
	c.mu.Unlock()
	granted := b.keep(s, c, pk)
	s.left, s.endsAt, s.willAt, s.user = 0, 0, 0, c.user
	if asked := &pk.Connect.WillProperties.ResponseTopic; *asked != "" && !b.mayPublish(c.user, *asked) {
		*asked = "" // see mayPublish
	}
	s.will = willOf(pk)
	s.conn, c.session = c, s
	b.loggedIn(c)
	b.clients++
	c.counted = true
	if s.durable {
		b.dirtySession(s)
		b.dirtyCursor(s)
	}
	return will, b.welcome(c, pk, present, assigned, granted, keepalive)
}

// waitForCalls waits, for connectTimeout at most, until what the client sent before is through to
// the program: it goes there before what the client sends now. It is true if it waited in vain.
func (b *Broker) waitForCalls(id string, user User) (late bool) {
	var timer *time.Timer
	for b.running && !late && b.calling[caller{id, user.Name}] > 0 {
		if s := b.sessions[id]; s != nil && s.conn != nil && s.user.Name == user.Name {
			s.conn.ignored = true // it is about to lose the session
		}
		if timer == nil {
			timer = time.AfterFunc(connectTimeout, func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				late = true
				b.committed.Broadcast()
			})
			defer timer.Stop()
		}
		b.committed.Wait()
	}
	return late
}

// takeOver ends the connection that has the session now, and the wait for its will, which
// it returns if it is published now.
func (b *Broker) takeOver(s *clientSession, clean bool) (will *publication) {
	if old := s.conn; old != nil {
		b.counters.takeovers.Add(1)
		old.session = nil
		b.uncount(old)
		old.disconnect(codeTakenOver) // MQTT-3.1.4-3
		b.step(s, session.Event{Kind: session.Disconnected})
		s.conn = nil
		if s.will != nil && (s.will.Delay == 0 || clean || s.expiry == 0) {
			will = b.publishWill(s)
		}
	} else if s.will != nil && clean { // the session ends before the delay does (MQTT-3.1.3-9)
		will = b.publishWill(s)
	}
	s.will = nil
	return will
}

// keep decides how long the session outlives its connection, and returns that in seconds.
func (b *Broker) keep(s *clientSession, c *conn, pk *packets.Packet) uint32 {
	most := uint32(min(b.cfg.SessionExpiry/time.Second, math.MaxUint32))
	asked := uint32(0)
	switch {
	case pk.ProtocolVersion == 5:
		asked = pk.Properties.SessionExpiryInterval
	case !pk.Connect.Clean:
		asked = most
	}
	c.asked = asked
	expiry := min(asked, most)
	if expiry > 0 && !s.kept && b.kept >= b.cfg.MaxSessions {
		b.bound("sessions", "MQTT sessions end with their connection: as many as allowed are kept")
		expiry = 0
	}
	b.setExpiry(s, expiry)
	return expiry
}

// setExpiry changes how long a session outlives its connection.
func (b *Broker) setExpiry(s *clientSession, expiry uint32) {
	s.expiry = expiry
	if kept := expiry > 0; kept != s.kept {
		s.kept = kept
		if kept {
			b.kept++
		} else {
			b.kept--
		}
	}
	if durable := s.kept && b.cfg.Storage != nil; durable != s.durable {
		if !durable {
			b.batch.removeSession(s)
			b.commitSoon()
		}
		s.durable = durable
	}
	b.dirtySession(s)
}

// welcome sends CONNACK and what the session has for the client.
func (b *Broker) welcome(c *conn, pk *packets.Packet, present bool, assigned string, granted uint32, keepalive time.Duration) error {
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ProtocolVersion: c.version, SessionPresent: present}
	window := b.cfg.MaxInflight
	c.mu.Lock()
	c.maxPacket = math.MaxInt32
	c.mu.Unlock()
	if c.version == 5 {
		p := &ack.Properties
		p.ReceiveMaximum = uint16(b.cfg.MaxInflight)
		p.MaximumPacketSize = uint32(b.cfg.MaxPacket)
		p.TopicAliasMaximum = aliases
		p.AssignedClientID = assigned
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = granted, granted != c.asked
		asked := time.Duration(pk.Connect.Keepalive) * time.Second
		p.ServerKeepAlive, p.ServerKeepAliveFlag = uint16(keepalive/time.Second), keepalive != asked
		if n := int(pk.Properties.ReceiveMaximum); n > 0 {
			window = min(window, n)
		}
		c.mu.Lock()
		if n := pk.Properties.MaximumPacketSize; n > 0 {
			c.maxPacket = int(min(n, math.MaxInt32))
		}
		c.maxAlias = min(aliases, int(pk.Properties.TopicAliasMaximum))
		c.mu.Unlock()
	}
	packet, err := encode(&ack)
	if err != nil {
		return err
	}
	c.send(packet)
	s := c.session
	for _, e := range b.step(s, session.Event{Kind: session.Connected, Window: window}) {
		b.onCommit(after{conn: c, kind: packets.Pubrel, pid: e.PID}, s.durable)
	}
	b.pump(s)
	return nil
}

// willOf is the will in a CONNECT; nil if there is none.
func willOf(pk *packets.Packet) *journal.Will {
	p := &pk.Connect
	if !p.WillFlag {
		return nil
	}
	return &journal.Will{
		Topic: p.WillTopic, Payload: p.WillPayload, Props: encodeProperties(&p.WillProperties), QoS: p.WillQos, Retain: p.WillRetain,
		Delay: p.WillProperties.WillDelayInterval, Expiry: p.WillProperties.MessageExpiryInterval,
	}
}
