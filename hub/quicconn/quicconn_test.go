package quicconn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
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

// cloud is a Listener on loopback, or in memory.
type cloud struct {
	*jointest.Cloud
	t       testing.TB
	packets *hubtest.Packets // the network, unless it is the machine's
	link    *quicconn.Listener

	mu    sync.Mutex
	conns map[string][]hub.Conn // of the edges, by node
}

// newCloud makes a cloud on the machine's network.
func newCloud(t testing.TB) *cloud {
	t.Helper()
	return newCloudOn(t, nil)
}

// newBubbleCloud makes a cloud whose network is in memory, for a synctest bubble.
func newBubbleCloud(t testing.TB) *cloud {
	t.Helper()
	return newCloudOn(t, new(hubtest.Packets))
}

func newCloudOn(t testing.TB, packets *hubtest.Packets) *cloud {
	t.Helper()
	c := &cloud{Cloud: jointest.NewCloud(t), t: t, packets: packets, conns: make(map[string][]hub.Conn)}
	c.link = c.serve(quicconn.ListenerConfig{})
	return c
}

// serve runs a Listener until the test ends. The Socket and TLS of cfg may be nil.
func (c *cloud) serve(cfg quicconn.ListenerConfig) *quicconn.Listener {
	c.t.Helper()
	if cfg.Socket == nil {
		cfg.Socket = c.socket(0)
	}
	if cfg.TLS == nil {
		cfg.TLS = c.ServerTLS()
	}
	l, err := quicconn.Listen(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	l.Calm()
	c.t.Cleanup(func() { l.Close() })
	return l
}

// socket opens a socket on the cloud's network.
func (c *cloud) socket(port int) net.PacketConn {
	c.t.Helper()
	if c.packets == nil {
		return loopback(c.t, port)
	}
	s, err := c.packets.Listen(port)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// proxy runs a proxy to addr on the cloud's network.
func (c *cloud) proxy(t testing.TB, addr net.Addr) *hubtest.PacketProxy {
	t.Helper()
	if c.packets == nil {
		return hubtest.NewPacketProxy(t, addr.String(), 1)
	}
	return c.packets.Proxy(t, addr, 1)
}

func (c *cloud) dialer(addr, node string) hub.Dialer {
	return c.dialerWith(quicconn.DialerConfig{Addr: addr, TLS: c.ClientTLS(node)}, node)
}

func (c *cloud) dialerWith(cfg quicconn.DialerConfig, node string) hub.Dialer {
	return dialer{cfg, c, node}
}

// dialer remembers what it dialled, so that it can be cut.
type dialer struct {
	cfg   quicconn.DialerConfig
	cloud *cloud
	node  string
}

func (d dialer) Dial(ctx context.Context) (hub.Conn, error) {
	free := func() {}
	if d.cloud.packets != nil && d.cfg.Socket == nil {
		s := quicconn.NewSocket(d.cloud.socket(0))
		d.cfg.Socket, free = s, func() { s.Close() }
	}
	inner, err := quicconn.NewDialer(d.cfg)
	if err != nil {
		d.cloud.t.Error(err)
		return nil, err
	}
	conn, err := inner.Dial(ctx)
	switch {
	case err != nil:
		free()
		return nil, err
	case d.cfg.Socket != nil:
		conn = freeing{conn.(*quicconn.Conn), free}
	}
	d.cloud.mu.Lock()
	defer d.cloud.mu.Unlock()
	d.cloud.conns[d.node] = append(d.cloud.conns[d.node], conn)
	return conn, nil
}

// freeing is a connection with a socket of its own in memory.
type freeing struct {
	*quicconn.Conn
	free func()
}

func (c freeing) Close() error {
	defer c.free()
	return c.Conn.Close()
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
			hubtest.Run(t, suite(w, newCloud))
		})
	}
}

// TestHubInABubble runs the whole suite over packets in memory, where the clock is the
// test's: also the tests that need that.
func TestHubInABubble(t *testing.T) {
	t.Parallel()
	for name, w := range hubtest.Weathers() {
		t.Run(name, func(t *testing.T) {
			s := suite(w, newBubbleCloud)
			s.Bubble = synctest.Test
			hubtest.Run(t, s)
		})
	}
}

// suite makes every packet pass through a proxy in that weather.
func suite(w hubtest.Weather, open func(testing.TB) *cloud) hubtest.Suite {
	return hubtest.Suite{Weather: w, Open: func(t *testing.T) hubtest.Transport {
		c := open(t)
		p := c.proxy(t, c.link.Addr())
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

// TestLastRead checks that a stream's bytes count as a sign of life at the time when they
// came.
func TestLastRead(t *testing.T) {
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
