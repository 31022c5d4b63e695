package wsconn_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/wsconn"
)

func TestMain(m *testing.M) {
	hubtest.Widen()
	goleak.VerifyTestMain(m)
}

// cloud is an HTTPS server with a link on it, on loopback or in memory.
type cloud struct {
	*jointest.Cloud
	t       testing.TB
	network *hubtest.Network // nil is the machine's
	link    *wsconn.Listener
	addr    string
}

// newCloud makes a cloud on the machine's network.
func newCloud(t testing.TB, edit ...func(*wsconn.ListenerConfig)) *cloud {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newCloudOn(t, nil, l, edit...)
}

// newBubbleCloud makes a cloud whose network is in memory, for a synctest bubble.
func newBubbleCloud(t testing.TB, edit ...func(*wsconn.ListenerConfig)) *cloud {
	t.Helper()
	n := new(hubtest.Network)
	l, err := n.Listen()
	if err != nil {
		t.Fatal(err)
	}
	return newCloudOn(t, n, l, edit...)
}

func newCloudOn(t testing.TB, n *hubtest.Network, l net.Listener, edit ...func(*wsconn.ListenerConfig)) *cloud {
	t.Helper()
	cfg := wsconn.ListenerConfig{Addr: l.Addr()}
	for _, f := range edit {
		f(&cfg)
	}
	link, err := wsconn.NewListener(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{Cloud: jointest.NewCloud(t), t: t, network: n, link: link, addr: l.Addr().String()}
	serve(t, link, l, c.ServerTLS(), c.Handler())
	return c
}

func (c *cloud) dialer(addr, node string) hub.Dialer {
	cfg := wsconn.DialerConfig{URL: "https://" + addr, TLS: c.ClientTLS(node)}
	if c.network != nil {
		cfg.DialContext = c.network.DialContext
	}
	d, err := wsconn.NewDialer(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

// proxy runs a proxy to the cloud on its network.
func (c *cloud) proxy(t testing.TB) *hubtest.Proxy {
	t.Helper()
	if c.network == nil {
		return hubtest.NewProxy(t, c.addr)
	}
	return c.network.Proxy(t, c.addr)
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

// TestHubInABubble runs the whole suite over connections in memory, where the clock is
// the test's: also the tests that need that.
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

// suite makes every connection pass through a proxy in that weather.
func suite(w hubtest.Weather, open func(testing.TB, ...func(*wsconn.ListenerConfig)) *cloud) hubtest.Suite {
	return hubtest.Suite{Weather: w, Open: func(t *testing.T) hubtest.Transport {
		c := open(t)
		p := c.proxy(t)
		p.SetWeather(w)
		return hubtest.Transport{
			Listener: c.link, Dialer: func(node string) hub.Dialer { return c.dialer(p.Addr(), node) },
			Cut: func(string) { p.Cut() }, CutAfter: func(_ string, n int) { p.CutAfter(n) },
			Stall: func(_ string, on bool) { p.Stall(on) },
		}
	}}
}

// TestJoinedIdentity does what a new machine does: it joins with a token, and links with
// the certificate.
func TestJoinedIdentity(t *testing.T) {
	c := newCloud(t)
	cred, err := join.Join(t.Context(), join.Request{
		URL: "https://" + c.addr, Token: c.Token("edge-1").String(), Node: "edge-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	id, err := join.NewIdentity(join.IdentityConfig{Credentials: cred, URL: "https://" + c.addr})
	if err != nil {
		t.Fatal(err)
	}
	d, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + c.addr, TLS: id.TLS()})
	if err != nil {
		t.Fatal(err)
	}
	server, err := hub.NewServer(hub.ServerConfig{Listener: c.link, Directory: &hubtest.Directory{}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: d, Node: "edge-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Run(ctx) })
	wg.Go(func() { _ = client.Run(ctx) })
	select {
	case <-client.Ready():
	case <-ctx.Done():
		t.Error("no session")
	}
	// The certificate is renewed during a session.
	if err := id.Renew(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
	// The edge refuses a server of another authority.
	other := newCloud(t)
	if d, err = wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + other.addr, TLS: id.TLS()}); err != nil {
		t.Fatal(err)
	}
	if conn, err := d.Dial(t.Context()); !errors.Is(err, join.ErrPin) {
		if err == nil {
			conn.Close()
		}
		t.Errorf("another authority's server: %v", err)
	}
}

func TestOldTLSIsNotSpoken(t *testing.T) {
	c := newCloud(t)
	cfg := c.ClientTLS("edge-1")
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	d, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + c.addr, TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := d.Dial(t.Context()); err == nil {
		conn.Close()
		t.Fatal("connected over TLS 1.2")
	}
}

func TestClosedListener(t *testing.T) {
	c := newCloud(t)
	if err := c.link.Close(); err != nil || c.link.Close() != nil {
		t.Fatal(err)
	}
	if _, err := c.link.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := c.dialer(c.addr, "edge-1").Dial(t.Context()); !errors.Is(err, &hub.Error{Code: hub.CodeUnavailable}) {
		t.Fatalf("a closed listener answered with %v", err)
	}
}

func TestFullBacklog(t *testing.T) {
	c := newCloud(t, func(cfg *wsconn.ListenerConfig) { cfg.Backlog = 1 })
	first, err := c.dialer(c.addr, "edge-1").Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = c.dialer(c.addr, "edge-2").Dial(t.Context())
	full, ok := errors.AsType[*hub.Error](err)
	if !ok || full.Code != hub.CodeUnavailable || full.RetryAfter <= 0 {
		t.Fatalf("a full listener answered with %v", err)
	}
}

// TestDeadInBacklog: edges give up before they are accepted. Their places are free at
// once, and Accept returns only connections that are alive.
func TestDeadInBacklog(t *testing.T) {
	c := newCloud(t, func(cfg *wsconn.ListenerConfig) { cfg.Backlog = 2 })
	busy := &hub.Error{Code: hub.CodeUnavailable}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 20 { // their end may come late on a busy machine
		var gone []hub.Conn
		for range 2 {
			conn, err := c.dialer(c.addr, "gone").Dial(ctx)
			for errors.Is(err, busy) {
				conn, err = c.dialer(c.addr, "gone").Dial(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			gone = append(gone, conn)
		}
		if _, err := c.dialer(c.addr, "third").Dial(ctx); !errors.Is(err, busy) {
			t.Fatalf("where all places are taken: %v", err)
		}
		for _, conn := range gone {
			conn.Close()
		}
		node := "edge-" + strconv.Itoa(i)
		edge, err := c.dialer(c.addr, node).Dial(ctx)
		for errors.Is(err, busy) {
			edge, err = c.dialer(c.addr, node).Dial(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		server, err := c.link.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		edge.Close()
		server.Close()
		if server.Peer().Name == node {
			return
		}
	}
	t.Error("Accept brings connections that have ended")
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []wsconn.DialerConfig{
		{}, {URL: "http://x", TLS: &tls.Config{}}, {URL: "https://", TLS: &tls.Config{}}, {URL: "https://x"}, {URL: "https://%", TLS: &tls.Config{}},
	} {
		if _, err := wsconn.NewDialer(cfg); err == nil || !strings.Contains(err.Error(), "DialerConfig.") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
