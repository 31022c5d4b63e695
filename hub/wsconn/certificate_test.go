package wsconn_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/wsconn"
)

func TestCertificates(t *testing.T) {
	jointest.RunCertificates(t, jointest.Transport{
		Listen: func(t *testing.T, cfg *tls.Config) (hub.Listener, string) {
			socket, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: socket.Addr()})
			if err != nil {
				t.Fatal(err)
			}
			serve(t, l, socket, cfg)
			return l, socket.Addr().String()
		},
		Dialer: func(t *testing.T, addr string, cfg *tls.Config) hub.Dialer {
			d, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "wss://" + addr, TLS: cfg})
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
	})
}

// serve runs an HTTPS server with the link until the test ends.
func serve(t testing.TB, link *wsconn.Listener, socket net.Listener, cfg *tls.Config, more ...http.Handler) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(wsconn.Path, link)
	for _, h := range more {
		mux.Handle("/", h)
	}
	srv := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tls.NewListener(link.Throttle(socket), cfg))
	}()
	t.Cleanup(func() {
		link.Close()
		srv.Close()
		<-done
	})
}
