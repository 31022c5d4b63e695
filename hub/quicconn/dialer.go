package quicconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// DialerConfig sets up a Dialer. Addr and TLS are required.
type DialerConfig struct {
	// Addr is the cloud's address, host:port.
	Addr string
	// TLS holds the roots that the server is checked against and the node's
	// certificate, best through GetClientCertificate, so that a renewed one is
	// used for the next connection.
	TLS *tls.Config
	// Socket is shared with other Dialers, for a program that stands for many
	// nodes. It stays its owner's to close. Nil means a socket of its own for
	// each connection.
	Socket *Socket
	// Keepalive is after how long a silence the edge asks whether the server still knows
	// the connection, if that is sooner than the server asks for: set it for a NAT that
	// forgets sooner. 0 means as often as the server says, see ListenerConfig.Keepalive.
	Keepalive time.Duration
}

// Dialer opens connections to a Listener.
type Dialer struct {
	addr      string
	tls       *tls.Config
	socket    *Socket
	keepalive time.Duration
}

// NewDialer checks cfg and makes a Dialer.
func NewDialer(cfg DialerConfig) (*Dialer, error) {
	host, _, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("quicconn: DialerConfig.Addr: %w", err)
	}
	switch {
	case cfg.TLS == nil:
		return nil, errors.New("quicconn: DialerConfig.TLS is required")
	case cfg.Keepalive < 0:
		return nil, errors.New("quicconn: DialerConfig.Keepalive must not be negative: leave it 0 for what the server says")
	}
	d := &Dialer{addr: cfg.Addr, tls: cfg.TLS.Clone(), socket: cfg.Socket, keepalive: cfg.Keepalive}
	if d.keepalive == 0 {
		d.keepalive = idleTimeout // quic-go asks after half the server's idle time-out, if that is sooner
	}
	d.tls.NextProtos = []string{protocol}
	if d.tls.ServerName == "" {
		d.tls.ServerName = host
	}
	return d, nil
}

// Dial opens one connection. Where UDP is blocked it fails when ctx ends or after 7 s. A
// server whose certificate is not to be trusted gives an error that wraps a
// *tls.CertificateVerificationError. The refusal of the node's own certificate shows only
// when the connection is first used, as hub.CertificateError or with CodeForbidden: that
// is how TLS 1.3 works. For a DialerConfig.Socket that no longer works the error is a
// *SocketError.
func (d *Dialer) Dial(ctx context.Context) (hub.Conn, error) {
	addr, err := resolve(ctx, d.addr)
	if err != nil {
		return nil, fmt.Errorf("quicconn: %w", err)
	}
	socket, free := d.socket, func() {}
	if socket == nil {
		udp, err := net.ListenUDP("udp", nil)
		if err != nil {
			return nil, fmt.Errorf("quicconn: %w", err)
		}
		socket = NewSocket(udp)
		free = func() { _ = socket.Close() }
	}
	conf := edgeSettings()
	conf.KeepAlivePeriod, conf.HandshakeIdleTimeout = d.keepalive, answerTimeout
	conn, err := socket.transport.Dial(ctx, addr, d.tls, conf)
	if err != nil {
		if failed := socket.Err(); failed != nil {
			err = failed
		}
		free()
		return nil, fmt.Errorf("quicconn: %w", refusal(err))
	}
	peer := hub.Peer{Addr: conn.RemoteAddr(), Transport: transport}
	if certs := conn.ConnectionState().TLS.PeerCertificates; len(certs) > 0 {
		peer.Certificate = certs[0]
	}
	return &Conn{conn: conn, peer: peer, done: free}, nil
}

// resolve is net.ResolveUDPAddr, which prefers IPv4 too, with a context.
func resolve(ctx context.Context, addr string) (*net.UDPAddr, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	ip := ips[0] // LookupIPAddr fails rather than return none
	for _, candidate := range ips {
		if candidate.IP.To4() != nil {
			ip = candidate
			break
		}
	}
	return &net.UDPAddr{IP: ip.IP, Port: port, Zone: ip.Zone}, nil
}
