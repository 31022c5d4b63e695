package quicconn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/quicconn"
)

func TestMain(m *testing.M) {
	hubtest.Widen()
	goleak.VerifyTestMain(m)
}

// cloud is a Listener on loopback.
type cloud struct {
	*jointest.Cloud
	t    testing.TB
	link *quicconn.Listener

	mu    sync.Mutex
	conns map[string][]hub.Conn // of the edges, by node
}

func newCloud(t testing.TB) *cloud {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{Cloud: jointest.NewCloud(t), t: t, conns: make(map[string][]hub.Conn)}
	if c.link, err = quicconn.Listen(quicconn.ListenerConfig{Socket: socket, TLS: c.ServerTLS()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.link.Close() })
	return c
}

func (c *cloud) dialer(addr, node string) hub.Dialer {
	d, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: addr, TLS: c.ClientTLS(node)})
	if err != nil {
		c.t.Fatal(err)
	}
	return dialer{d, c, node}
}

// dialer remembers what it dialled, so that it can be cut.
type dialer struct {
	hub.Dialer
	cloud *cloud
	node  string
}

func (d dialer) Dial(ctx context.Context) (hub.Conn, error) {
	conn, err := d.Dialer.Dial(ctx)
	if err == nil {
		d.cloud.mu.Lock()
		d.cloud.conns[d.node] = append(d.cloud.conns[d.node], conn)
		d.cloud.mu.Unlock()
	}
	return conn, err
}

func (c *cloud) cut(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns[node] {
		conn.Close()
	}
	delete(c.conns, node)
}

func TestHub(t *testing.T) {
	t.Parallel()
	for name, w := range hubtest.Weathers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hubtest.Run(t, suite(w))
		})
	}
}

// suite has every packet pass through a proxy in that weather.
func suite(w hubtest.Weather) hubtest.Suite {
	return hubtest.Suite{Weather: w, Open: func(t *testing.T) hubtest.Transport {
		c := newCloud(t)
		p := hubtest.NewPacketProxy(t, c.link.Addr().String(), 1)
		p.SetWeather(w)
		return hubtest.Transport{
			Listener: c.link, Dialer: func(node string) hub.Dialer { return c.dialer(p.Addr(), node) },
			Cut: c.cut, CutAfter: func(node string, n int) { p.CutAfter(n, func() { c.cut(node) }) },
			Stall: func(_ string, on bool) { p.Block(on) },
		}
	}}
}

// pair connects one edge through a proxy.
func pair(t *testing.T, c *cloud, addr string) (edge, server hub.Conn) {
	t.Helper()
	accepted := make(chan hub.Conn, 1)
	go func() {
		conn, err := c.link.Accept(t.Context())
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	edge, err := c.dialer(addr, "edge-1").Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() { edge.Close(); server.Close() })
	return edge, server
}

// TestNewAddress moves the edge to another address in the middle of a stream,
// as a NAT does that forgot it.
func TestNewAddress(t *testing.T) {
	c := newCloud(t)
	p := hubtest.NewPacketProxy(t, c.link.Addr().String(), 1)
	edge, server := pair(t, c, p.Addr())
	echo := make(chan error, 1)
	go func() {
		s, err := server.AcceptStream(t.Context())
		if err == nil {
			_, err = io.Copy(s, s)
			s.Close()
		}
		echo <- err
	}()
	s, err := edge.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 4 {
		if i == 2 {
			p.Rebind()
		}
		if _, err := s.Write([]byte("abcd")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-echo; err != nil {
		t.Error(err)
	}
}

// TestHeard wants a stream's bytes to be a sign of life, at the time they came.
func TestHeard(t *testing.T) {
	c := newCloud(t)
	edge, server := pair(t, c, c.link.Addr().String())
	at := func() time.Time { return server.(hub.LastReader).LastRead() }
	if !at().IsZero() {
		t.Errorf("heard at %v, before anything came", at())
	}
	out, err := edge.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	begun := time.Now()
	if _, err := out.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	in, err := server.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := io.ReadFull(in, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if heard := at(); heard.Before(begun) || heard.After(time.Now()) {
		t.Errorf("heard at %v, sent at %v", heard, begun)
	}
}

func TestClosed(t *testing.T) {
	c := newCloud(t)
	edge, server := pair(t, c, c.link.Addr().String())
	for range 2 {
		if err := edge.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := server.AcceptStream(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the peer closed: %v", err)
	}
	if _, err := edge.OpenStream(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	for range 2 {
		if err := c.link.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.link.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}
