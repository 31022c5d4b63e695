package kubeletproxy

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
)

// maxTrusted is how many networks are remembered as ones of authenticated clients.
const maxTrusted = 64

// connLimiter bounds the connections of all ports. A connection counts as
// unauthenticated until its client has been authenticated. Where there are too
// many of these the oldest is closed, so that a flood does not keep the API
// server out.
//
// A connection that is passed on to another cloudcore is authenticated there, which is not seen
// here. It does not count as unauthenticated if a client of its network was authenticated before,
// as the API server was. Such connections may be half of all.
type connLimiter struct {
	max, maxUnauthenticated, maxPerNetwork int

	mu              sync.Mutex
	open, passed    int
	unauthenticated list.List // of *limitedConn, the oldest first
	networks        map[netip.Prefix]int
	trusted         map[netip.Prefix]struct{} // networks of authenticated clients
}

func newConnLimiter(cfg Config) *connLimiter {
	return &connLimiter{
		max: cfg.MaxConnections, maxUnauthenticated: cfg.MaxUnauthenticated, maxPerNetwork: cfg.MaxUnauthenticatedPerNetwork,
		networks: make(map[netip.Prefix]int), trusted: make(map[netip.Prefix]struct{}),
	}
}

// limitedConn is a connection that is counted until it is closed.
type limitedConn struct {
	net.Conn
	limiter *connLimiter
	network netip.Prefix
	place   *list.Element // among the unauthenticated; nil for one that is known
	passed  bool          // it counts as passed on
	closed  bool
}

// networkOf is the network of an address. It counts as one client: an IPv6 client usually
// has a whole /64 (RFC 4291 section 2.5.4).
func networkOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 24
	}
	p, _ := ip.Prefix(bits) // fails for no address, which is a network of its own
	return p
}

// admit counts a connection; it returns nil when the limit is reached.
func (g *connLimiter) admit(c net.Conn) *limitedConn {
	gc := &limitedConn{Conn: c, limiter: g, network: networkOf(c.RemoteAddr())}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.networks[gc.network] >= g.maxPerNetwork {
		g.closeOldestLocked(func(o *limitedConn) bool { return o.network == gc.network })
	} else if g.unauthenticated.Len() >= g.maxUnauthenticated {
		g.closeOldestLocked(func(*limitedConn) bool { return true })
	}
	if g.open >= g.max {
		return nil
	}
	g.open++
	g.networks[gc.network]++
	gc.place = g.unauthenticated.PushBack(gc)
	if hc, ok := c.(*handoverConn); ok {
		hc.limited = gc
	}
	return gc
}

// setPassed counts a connection as one that is passed on.
func (g *connLimiter) setPassed(c *limitedConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, trusted := g.trusted[c.network]; !trusted || c.place == nil || g.passed >= g.max/2 {
		return
	}
	g.passed++
	c.passed = true
	g.setKnownLocked(c)
}

// trustLocked remembers the network of an authenticated client.
func (g *connLimiter) trustLocked(network netip.Prefix) {
	if _, trusted := g.trusted[network]; trusted {
		return
	}
	for other := range g.trusted {
		if len(g.trusted) < maxTrusted {
			break
		}
		delete(g.trusted, other) // any: it comes back with its next client
	}
	g.trusted[network] = struct{}{}
}

// closeOldestLocked closes the oldest unauthenticated connection that matches.
func (g *connLimiter) closeOldestLocked(match func(*limitedConn) bool) {
	for e := g.unauthenticated.Front(); e != nil; e = e.Next() {
		if o := e.Value.(*limitedConn); match(o) {
			g.removeLocked(o)
			o.Conn.Close() // its owner closes it again, which does no harm
			return
		}
	}
}

// setKnownLocked removes a connection from the unauthenticated ones.
func (g *connLimiter) setKnownLocked(c *limitedConn) {
	if c.place == nil {
		return
	}
	g.unauthenticated.Remove(c.place)
	c.place = nil
	if g.networks[c.network]--; g.networks[c.network] == 0 {
		delete(g.networks, c.network)
	}
}

func (g *connLimiter) removeLocked(c *limitedConn) {
	if !c.closed {
		c.closed = true
		g.open--
		if c.passed {
			g.passed--
		}
		g.setKnownLocked(c)
	}
}

// Close closes the connection and frees its place.
func (c *limitedConn) Close() error {
	c.limiter.mu.Lock()
	c.limiter.removeLocked(c)
	c.limiter.mu.Unlock()
	return c.Conn.Close()
}

// listener counts the connections of a port.
func (g *connLimiter) listener(l net.Listener) net.Listener { return &limitedListener{l, g} }

type limitedListener struct {
	net.Listener
	limiter *connLimiter
}

// Accept waits for a connection for which there is room.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if gc := l.limiter.admit(c); gc != nil {
			return gc, nil
		}
		c.Close()
	}
}

type connKey struct{}

// withConn puts the connection into the context of its requests.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// markKnown marks the connection of a request as one of a known client.
func markKnown(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*limitedConn); ok {
		c.limiter.mu.Lock()
		defer c.limiter.mu.Unlock()
		c.limiter.trustLocked(c.network)
		c.limiter.setKnownLocked(c)
	}
}
