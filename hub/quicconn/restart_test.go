package quicconn_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// plain hides that a net.PacketConn is more than that.
type plain struct{ net.PacketConn }

// TestStatelessReset: a server loses everything and returns with the same reset key. An
// edge that sends learns at once that its connection is gone; an idle edge learns it at
// its next keepalive, whose packet is so small that quic-go alone would not answer it.
func TestStatelessReset(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		for name, tt := range map[string]struct {
			narrow    int           // largest packet that still gets through
			keepalive time.Duration // the edge's own
		}{
			"at work":                 {0, 100 * time.Millisecond},
			"at rest":                 {42, 100 * time.Millisecond},
			"at rest, as it was told": {42, 0},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const askEvery = 4 * time.Second
					c := newBubbleCloud(t)
					port := c.link.Addr().(*net.UDPAddr).Port
					c.link.Close()
					lostServer{
						cloud: c, askEvery: askEvery, keepalive: tt.keepalive, narrow: tt.narrow,
						listen: func() net.PacketConn { return c.socket(port) },
					}.run(t, port)
				})
			})
		}
	})
	for name, tt := range map[string]struct {
		narrow int
		wrap   func(*net.UDPConn) net.PacketConn
		host   net.IP
	}{
		"at work":                   {0, func(c *net.UDPConn) net.PacketConn { return c }, net.IPv4(127, 0, 0, 1)},
		"at rest":                   {42, func(c *net.UDPConn) net.PacketConn { return c }, net.IPv4(127, 0, 0, 1)},
		"at rest, any":              {42, func(c *net.UDPConn) net.PacketConn { return c }, nil}, // all addresses of the machine
		"at rest, not a UDP socket": {42, func(c *net.UDPConn) net.PacketConn { return plain{c} }, net.IPv4(127, 0, 0, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := hubtest.FreePort(t, "udp", "")
			lostServer{
				// askEvery is long, so that a busy machine is not taken for a dead
				// server.
				cloud: newCloud(t), askEvery: time.Minute, keepalive: 100 * time.Millisecond, narrow: tt.narrow,
				listen: func() net.PacketConn {
					socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: tt.host, Port: port})
					if err != nil {
						t.Fatal(err)
					}
					return tt.wrap(socket)
				},
			}.run(t, port)
		})
	}
}

// lostServer is a server that loses everything.
type lostServer struct {
	*cloud
	listen    func() net.PacketConn // at the same port each time
	askEvery  time.Duration         // how often edges are to ask
	keepalive time.Duration         // the edge's own
	narrow    int                   // largest packet that still gets through, afterwards
}

func (f lostServer) run(t *testing.T, port int) {
	key := &quicconn.Key{1, 2, 3}
	socket := f.listen()
	first := f.serve(quicconn.ListenerConfig{Socket: socket, ResetKey: key, TokenKey: key, Keepalive: f.askEvery})
	p := f.proxy(t, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	edge, err := f.dialerWith(quicconn.DialerConfig{Addr: p.Addr(), TLS: f.ClientTLS("edge-1"), Keepalive: f.keepalive}, "edge-1").Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { edge.Close() })
	if _, err := first.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Narrow(f.narrow)
	socket.Close() // so that no close frame gets out
	first.Close()
	f.serve(quicconn.ListenerConfig{Socket: f.listen(), ResetKey: key, TokenKey: key, Keepalive: f.askEvery})
	if f.narrow == 0 {
		say(t, edge)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = edge.AcceptStream(ctx)
	if _, ok := errors.AsType[*quic.StatelessResetError](err); !ok || !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// say sends something on a stream of its own.
func say(t *testing.T, conn hub.Conn) {
	t.Helper()
	s, err := conn.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("are you there?")); err != nil {
		t.Fatal(err)
	}
}
