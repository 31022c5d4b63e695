package hubbench_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/quicconn"
	"github.com/edgekit/edgekit/hub/wsconn"
)

const node = "edge-1"

// site is a listener with a certificate, and how the node reaches it.
type site struct {
	listener hub.Listener
	addr     string // host:port; may be changed to that of a proxy
	dialer   func(t *testing.T, addr string) hub.Dialer
}

func listenQUIC(t *testing.T) site {
	t.Helper()
	cloud := jointest.NewCloud(t)
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := quicconn.Listen(quicconn.ListenerConfig{Socket: socket, TLS: cloud.ServerTLS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return site{listener: l, addr: l.Addr().String(), dialer: func(t *testing.T, addr string) hub.Dialer {
		d, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: addr, TLS: cloud.ClientTLS(node)})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}}
}

func listenWS(t *testing.T) site {
	t.Helper()
	cloud := jointest.NewCloud(t)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: socket.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: l, TLSConfig: cloud.ServerTLS(), ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ServeTLS(socket, "", "")
	}()
	t.Cleanup(func() {
		l.Close()
		srv.Close()
		<-done
	})
	return site{listener: l, addr: socket.Addr().String(), dialer: func(t *testing.T, addr string) hub.Dialer {
		d, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + addr, TLS: cloud.ClientTLS(node)})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}}
}

// link is a session between a server and one node.
type link struct {
	server *hub.Server
	client *hub.Client
	dir    *hubtest.Directory
	sink   *hubtest.Sink
}

// connect runs both ends until the test ends, and returns when the session
// stands.
func connect(t *testing.T, s site) *link {
	t.Helper()
	return connectWith(t, s, s.dialer(t, s.addr))
}

func connectWith(t *testing.T, s site, d hub.Dialer) *link {
	t.Helper()
	var mux hub.Mux
	mux.Handle("echo", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) { return r.Message, nil }))
	mux.HandleStream("sink", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, s, make([]byte, 64<<10))
		if err != nil {
			return err
		}
		_, err = io.WriteString(s, strconv.FormatInt(n, 10))
		return err
	}))
	l := &link{dir: &hubtest.Directory{}, sink: &hubtest.Sink{}}
	var err error
	if l.server, err = hub.NewServer(hub.ServerConfig{Listener: s.listener, Directory: l.dir}); err != nil {
		t.Fatal(err)
	}
	if l.client, err = hub.NewClient(hub.ClientConfig{Dialer: d, Node: node, Down: l.sink, Mux: &mux}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.server.Run(ctx) })
	wg.Go(func() { _ = l.client.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	// The first object shows that both sides know of the session.
	l.dir.Down(node).Put(hub.Key{Resource: "ready"}, 1, "")
	if err := l.sink.Wait(t.Context(), func() bool { return l.sink.Held(hub.Key{Resource: "ready"}) != "" }); err != nil {
		t.Fatal(err)
	}
	l.dir.Down(node).Delete(hub.Key{Resource: "ready"}, 2)
	if err := l.sink.Wait(t.Context(), func() bool { return l.sink.Len() == 0 }); err != nil {
		t.Fatal(err)
	}
	return l
}
