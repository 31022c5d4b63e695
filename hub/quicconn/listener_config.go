package quicconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// Key is a secret of a Listener: 32 random bytes.
type Key [32]byte

// ListenerConfig sets up a Listener. Socket and TLS are required.
type ListenerConfig struct {
	// Socket is the UDP socket, which the Listener owns from then on.
	Socket net.PacketConn
	// TLS is the server's certificate and the roots that clients are checked
	// against, both of which its GetConfigForClient may choose anew for each
	// connection; Listen asks it once, for a client without name and address. A
	// client certificate is required whatever it says.
	TLS *tls.Config
	// NodeName reads a node's name from its verified certificate, or says why
	// the certificate is not a node's. Nil means join.NodeName.
	NodeName func(*x509.Certificate) (string, error)
	// ResetKey, when the same after a restart, lets edges learn at once that
	// the server has forgotten their connection (stateless reset, RFC 9000
	// section 10.3). Replicas share it, so that an edge whose packets come to
	// another one connects again. Nil sends no resets.
	ResetKey *Key
	// TokenKey lets replicas accept each other's proofs of address. Nil means
	// random.
	TokenKey *Key
	// Keepalive is after how long a silence edges ask whether this server still
	// knows them, by a packet that only QUIC sees; one that is silent for twice
	// as long is gone. Edges are told by QUIC's idle time-out (RFC 9000 section
	// 10.1), which is that. It keeps the way through NATs open, and is how long
	// an edge at rest may take to notice that its server was started again. For
	// 10,000 edges it costs the server 0.15 cores at the default, so that a cloud
	// of many more may want a minute. 0 means 15 s; the most is 10 minutes.
	Keepalive time.Duration
	// Memory is how many bytes all connections together may grow their windows
	// beyond the 16 MiB that each may use from the start. 0 means 256 MiB.
	Memory int64
	// Backlog is how many connections may wait for Accept; one more is turned
	// away. 0 means 1024.
	Backlog int
	// Handshakes is how many connections may be under way from their first
	// packet to Accept. More wait in the order of their coming, up to 4,096 and for
	// up to 10 s; beyond that their first packets are lost, which has the edges send
	// them again (RFC 9002 section 6.2). One that is under way for longer than 3 s
	// counts no more. While goroutines wait for the CPU for 10 ms and more, it is a
	// sixteenth of that, so that those who come do not take it from those who are
	// connected. Many at a time make all of them slower; edges that are far
	// away need more, three round trips each. 0 means 128.
	Handshakes int
	// Unproven is how many handshakes with unproven addresses may be under
	// way before each further one must prove its address first, which costs a
	// round trip (RFC 9000 section 8.1.2). 0 means twice as many as Handshakes, which
	// only peers reach that do not go on.
	Unproven int
}

// complete checks cfg and fills in the defaults.
func (cfg ListenerConfig) complete() (ListenerConfig, error) {
	switch {
	case cfg.Socket == nil:
		return cfg, errors.New("quicconn: ListenerConfig.Socket is required")
	case cfg.TLS == nil:
		return cfg, errors.New("quicconn: ListenerConfig.TLS is required")
	case cfg.Keepalive < 0 || 2*cfg.Keepalive > idleTimeout:
		return cfg, fmt.Errorf("quicconn: ListenerConfig.Keepalive must be 0 for the default, or up to %v", idleTimeout/2)
	case cfg.Backlog < 0 || cfg.Memory < 0 || cfg.Handshakes < 0 || cfg.Unproven < 0:
		return cfg, errors.New("quicconn: ListenerConfig.Backlog, Memory, Handshakes and Unproven must not be negative: leave them 0 for the default")
	}
	if cfg.NodeName == nil {
		cfg.NodeName = join.NodeName
	}
	if cfg.Keepalive == 0 {
		cfg.Keepalive = keepalive
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = 1024
	}
	if cfg.Memory == 0 {
		cfg.Memory = 256 << 20
	}
	if cfg.Handshakes == 0 {
		cfg.Handshakes = 128
	}
	if cfg.Unproven == 0 {
		cfg.Unproven = 2 * cfg.Handshakes
	}
	return cfg, nil
}
