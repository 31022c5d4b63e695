package quicconn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A server that was restarted tells the edges that it does not know their connections
// (stateless reset, RFC 9000 section 10.3). quic-go does so only for packets of more
// than 42 bytes, since all its resets have that size. The packets of an edge at rest are
// smaller, so it would ask for minutes without an answer. This file answers those.
// Connection ids begin with a mark that each server draws anew: so the server knows
// that a packet belongs to none of its connections without access to quic-go's table.

const (
	markLength = 2
	// minReset is the shortest reset, and maxReset the longest that quic-go does not
	// send itself. A reset is shorter than the packet it answers, so that two servers do
	// not answer each other for ever (RFC 9000 section 10.3.3).
	minReset    = 21
	maxReset    = 41
	resetToken  = 16 // bytes, at a reset's end
	headerForm  = 0x80
	headerFixed = 0x40
)

// marked makes a server's connection ids: its mark, then random bytes. The mark reveals
// no more than the server's address does.
type marked [markLength]byte

func newMark() (m marked) {
	_, _ = rand.Read(m[:]) // never fails
	return m
}

// GenerateConnectionID implements quic.ConnectionIDGenerator.
func (m marked) GenerateConnectionID() (quic.ConnectionID, error) {
	var id [markLength + idLength]byte
	_, _ = rand.Read(id[copy(id[:], m[:]):]) // never fails
	return quic.ConnectionIDFromBytes(id[:]), nil
}

// ConnectionIDLen implements quic.ConnectionIDGenerator.
func (m marked) ConnectionIDLen() int { return markLength + idLength }

// made reports whether the id may be one of this server.
func (m marked) made(id quic.ConnectionID) bool {
	return id.Len() == m.ConnectionIDLen() && marked(id.Bytes()[:markLength]) == m
}

// resetter answers packets for connections of other servers with the same key: those
// before this one, or beside it. A nil resetter answers nothing.
type resetter struct {
	mark marked // of this server
	key  Key
}

// reset returns the answer to a packet, or nil for none.
func (f *resetter) reset(packet []byte) []byte {
	if f == nil || len(packet) <= minReset || len(packet) > maxReset+1 || packet[0]&(headerForm|headerFixed) != headerFixed {
		return nil
	}
	id := packet[1 : 1+markLength+idLength]
	if marked(id[:markLength]) == f.mark {
		return nil
	}
	out := make([]byte, len(packet)-1)
	_, _ = rand.Read(out) // never fails
	out[0] = out[0]&^headerForm | headerFixed
	mac := hmac.New(sha256.New, f.key[:]) // as quic-go makes the token that the edge has
	mac.Write(id)
	copy(out[len(out)-resetToken:], mac.Sum(nil))
	return out
}

// sendFrom answers m from the address that it was sent to, for a server with
// several.
func (s *udpSocket) sendFrom(b []byte, m *ipv4.Message) {
	to, ok := m.Addr.(*net.UDPAddr)
	if !ok {
		return
	}
	_, _, _ = s.WriteMsgUDP(b, source(m.OOB[:m.NN]), to) // the peer asks again
}

// source makes the control message by which a packet leaves from the address
// that a packet with this control message was sent to. Nil leaves the choice to
// the kernel.
func source(oob []byte) []byte {
	var four ipv4.ControlMessage
	if four.Parse(oob) == nil && four.Dst.To4() != nil {
		return (&ipv4.ControlMessage{Src: four.Dst.To4(), IfIndex: four.IfIndex}).Marshal()
	}
	var six ipv6.ControlMessage
	if six.Parse(oob) == nil && six.Dst != nil {
		return (&ipv6.ControlMessage{Src: six.Dst, IfIndex: six.IfIndex}).Marshal()
	}
	return nil
}
