package quicconn_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// askEvery is how often listeners say that edges are to ask.
const askEvery = 4 * time.Second

// serveWith runs a listener with the keys on the socket.
func serveWith(t *testing.T, c *cloud, socket net.PacketConn, key *quicconn.Key) *quicconn.Listener {
	t.Helper()
	l, err := quicconn.Listen(quicconn.ListenerConfig{
		Socket: socket, TLS: c.ServerTLS(), ResetKey: key, TokenKey: key, Keepalive: askEvery,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// plain hides that a net.PacketConn is more than that.
type plain struct{ net.PacketConn }

// TestStatelessReset has a server lose everything and return with the same reset
// key: an edge learns at once that its connection is gone, and one at rest does
// when it next asks. What that sends is so small that quic-go answers nothing.
func TestStatelessReset(t *testing.T) {
	const often = 100 * time.Millisecond
	for name, tt := range map[string]struct {
		narrow    int // largest packet that still gets through
		keepalive time.Duration
		wrap      func(*net.UDPConn) net.PacketConn
		host      net.IP
	}{
		"at work":                   {0, often, func(c *net.UDPConn) net.PacketConn { return c }, net.IPv4(127, 0, 0, 1)},
		"at rest":                   {42, often, func(c *net.UDPConn) net.PacketConn { return c }, net.IPv4(127, 0, 0, 1)},
		"at rest, as it was told":   {42, 0, func(c *net.UDPConn) net.PacketConn { return c }, net.IPv4(127, 0, 0, 1)},
		"at rest, any":              {42, often, func(c *net.UDPConn) net.PacketConn { return c }, nil}, // all addresses of the machine
		"at rest, not a UDP socket": {42, often, func(c *net.UDPConn) net.PacketConn { return plain{c} }, net.IPv4(127, 0, 0, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, key := newCloud(t), &quicconn.Key{1, 2, 3}
			listen := func(port int) *net.UDPConn {
				socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: tt.host, Port: port})
				if err != nil {
					t.Fatal(err)
				}
				return socket
			}
			socket := listen(0)
			port := socket.LocalAddr().(*net.UDPAddr).Port
			first := serveWith(t, c, tt.wrap(socket), key)
			p := hubtest.NewPacketProxy(t, (&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String(), 1)
			edge := dialEach(t, c, p.Addr(), tt.keepalive)
			if _, err := first.Accept(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.Narrow(tt.narrow)
			socket.Close() // so that no farewell gets out
			first.Close()
			serveWith(t, c, tt.wrap(listen(port)), key)
			if tt.narrow == 0 {
				say(t, edge)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := edge.AcceptStream(ctx)
			if _, ok := errors.AsType[*quic.StatelessResetError](err); !ok || !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// dialEach connects an edge that asks after so long a silence.
func dialEach(t *testing.T, c *cloud, addr string, keepalive time.Duration) hub.Conn {
	t.Helper()
	d, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: addr, TLS: c.ClientTLS("edge-1"), Keepalive: keepalive})
	if err != nil {
		t.Fatal(err)
	}
	edge, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { edge.Close() })
	return edge
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
