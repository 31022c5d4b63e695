package quicconn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
)

// serverTLS is the configuration for quic-go: ListenerConfig.TLS with the changes of
// insist.
//
// quic-go copies it for each connection, and crypto/tls keeps another configuration that
// GetConfigForClient returns beside it. So quic-go gets what GetConfigForClient returns
// now, which is the same for all connections until a certificate is renewed. As long as
// it stays the same, connections get no second configuration.
func (l *Listener) serverTLS() *tls.Config {
	choose := l.cfg.TLS.GetConfigForClient
	if choose == nil {
		return insist(l.cfg.TLS)
	}
	first, err := choose(&tls.ClientHelloInfo{
		SupportedVersions: []uint16{tls.VersionTLS13}, SupportedProtos: []string{protocol}, Conn: nobody{addr: l.cfg.Socket.LocalAddr()},
	})
	if first == nil || err != nil { // it may choose when a client comes
		first = l.cfg.TLS
	}
	given := insist(first)
	given.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen, err := choose(hello)
		if err != nil {
			return nil, err
		}
		if chosen == nil {
			chosen = l.cfg.TLS
		}
		if chosen == first {
			return nil, nil
		}
		last := l.chosen.Load()
		if last == nil || last.of != chosen {
			last = &choice{chosen, insist(chosen)}
			l.chosen.Store(last)
		}
		return last.config, nil
	}
	return given
}

// nobody is the net.Conn in the hello with which Listen calls GetConfigForClient. It has
// only a local address.
type nobody struct {
	net.Conn
	addr net.Addr
}

func (n nobody) LocalAddr() net.Addr  { return n.addr }
func (n nobody) RemoteAddr() net.Addr { return &net.UDPAddr{} }

// choice is what GetConfigForClient returned, and what insist made of it.
type choice struct{ of, config *tls.Config }

// insist returns a copy of c that speaks this protocol and wants a certificate.
func insist(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{protocol}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	// A ticket would be sent to every node and kept for each, and a resumed
	// session skips the check of the certificate. What it would spare when a
	// fleet returns is a fifth of the CPU (hub/BENCHMARKS.md).
	c.SessionTicketsDisabled = true
	c.Certificates = slices.Clone(c.Certificates)
	for i := range c.Certificates {
		c.Certificates[i].Certificate = withoutRoots(c.Certificates[i].Certificate)
	}
	return c
}

// withoutRoots leaves out of a chain the roots that it ends in, which an edge
// must have itself to trust them (RFC 8446 section 4.4.2): what is sent is kept
// for as long as the connection lives.
func withoutRoots(chain [][]byte) [][]byte {
	for len(chain) > 1 {
		last, err := x509.ParseCertificate(chain[len(chain)-1])
		if err != nil || !bytes.Equal(last.RawIssuer, last.RawSubject) {
			break
		}
		chain = chain[:len(chain)-1]
	}
	return chain
}
