package wsconn_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// TestStrangers wants nodes with wrong certificates to be turned away with an
// error that says so.
func TestStrangers(t *testing.T) {
	c := newCloud(t)
	for _, s := range c.Strangers() {
		t.Run(s.Name, func(t *testing.T) {
			err := attempt(t, c.addr, s.TLS)
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
	d, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "wss://" + addr, TLS: cfg})
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

// serve runs an HTTPS server that upgrades nothing.
func serve(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = cfg
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
