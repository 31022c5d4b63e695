package quicconn_test

import (
	"crypto/tls"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/quicconn"
)

func TestCertificates(t *testing.T) {
	jointest.RunCertificates(t, jointest.Transport{
		Listen: func(t *testing.T, cfg *tls.Config) (hub.Listener, string) {
			l, err := quicconn.Listen(quicconn.ListenerConfig{Socket: loopback(t, 0), TLS: cfg})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return l, l.Addr().String()
		},
		Dialer: func(t *testing.T, addr string, cfg *tls.Config) hub.Dialer {
			d, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: addr, TLS: cfg})
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
	})
}
