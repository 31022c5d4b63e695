package jointest

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// Transport gives RunCertificates a transport whose identities are certificates.
type Transport struct {
	// Listen runs a listener with that configuration on 127.0.0.1 until the test ends,
	// and returns its address.
	Listen func(t *testing.T, cfg *tls.Config) (l hub.Listener, addr string)
	// Dialer dials it with the configuration of a node.
	Dialer func(t *testing.T, addr string, cfg *tls.Config) hub.Dialer
}

// RunCertificates checks that a transport takes identities from certificates alone: a
// node with a valid certificate is accepted under its name, one with a wrong certificate
// is refused with an error that says why, and a node does not speak to a server with a
// wrong certificate.
func RunCertificates(t *testing.T, tr Transport) {
	t.Run("Node", func(t *testing.T) { tr.node(t) })
	c := NewCloud(t)
	t.Run("RefusedNodes", func(t *testing.T) {
		_, addr := tr.Listen(t, c.ServerTLS())
		for _, s := range c.refusedNodes() {
			t.Run(s.name, func(t *testing.T) {
				want := &hub.Error{Code: hub.CodeForbidden}
				if s.expired {
					want.Code = hub.CodeUnavailable
				}
				if err := attempt(t, tr.Dialer(t, addr, s.tls)); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want.Code)
				}
			})
		}
	})
	t.Run("Impostors", func(t *testing.T) {
		for name, cfg := range c.impostors() {
			t.Run(name, func(t *testing.T) {
				_, addr := tr.Listen(t, cfg)
				err := attempt(t, tr.Dialer(t, addr, c.ClientTLS("edge-1")))
				if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
					t.Errorf("got %v", err)
				}
			})
		}
	})
}

// node checks that each side sees the other's certificate, and the cloud the name in it.
func (tr Transport) node(t *testing.T) {
	c := NewCloud(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, addr := tr.Listen(t, c.ServerTLS())
	edge, err := tr.Dialer(t, addr, c.ClientTLS("edge-1")).Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer edge.Close()
	cloud, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	if p := cloud.Peer(); p.Name != "edge-1" || p.Certificate == nil || p.Addr == nil || p.Transport == "" {
		t.Errorf("the cloud sees %+v", p)
	}
	if p := edge.Peer(); p.Name != "" || p.Certificate == nil || p.Addr == nil || p.Addr.String() != addr || p.Transport != cloud.Peer().Transport {
		t.Errorf("the edge sees %+v", p)
	}
}

// attempt dials, uses the connection, and returns the error.
func attempt(t *testing.T, d hub.Dialer) error {
	t.Helper()
	conn, err := d.Dial(t.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.AcceptStream(t.Context())
	return err
}
