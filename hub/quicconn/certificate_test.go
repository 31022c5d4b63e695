package quicconn_test

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// TestStrangers wants nodes with wrong certificates to be turned away with an
// error that says so.
func TestStrangers(t *testing.T) {
	c := newCloud(t)
	for _, s := range c.Strangers() {
		t.Run(s.Name, func(t *testing.T) {
			err := attempt(t, c.link.Addr().String(), s.TLS)
			want := &hub.Error{Code: hub.CodeForbidden}
			if s.Expired {
				want.Code = hub.CodeUnavailable
			}
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want.Code)
			}
		})
	}
}

// TestImpostors wants a node not to speak to a server with a wrong
// certificate.
func TestImpostors(t *testing.T) {
	c := newCloud(t)
	for name, cfg := range c.Impostors() {
		t.Run(name, func(t *testing.T) {
			err := attempt(t, serve(t, cfg), c.ClientTLS("edge-1"))
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// attempt dials and uses the connection, and gives the error of that.
func attempt(t *testing.T, addr string, cfg *tls.Config) error {
	t.Helper()
	d, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: addr, TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Dial(t.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.AcceptStream(t.Context())
	return err
}

// serve runs a listener with that configuration.
func serve(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := quicconn.Listen(quicconn.ListenerConfig{Socket: socket, TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
