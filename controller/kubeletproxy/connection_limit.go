package kubeletproxy

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
)

// gate bounds the connections of all ports. One is a stranger's until its client
// has shown who it is. Where there are too many strangers the oldest gives way,
// so that a flood does not keep the API server out.
type gate struct {
	most, strangersMost, networkMost int

	mu        sync.Mutex
	open      int
	strangers list.List // of *gateConn, the oldest first
	networks  map[netip.Prefix]int
}

func newGate(cfg Config) *gate {
	return &gate{
		most: cfg.MaxConnections, strangersMost: cfg.MaxStrangers, networkMost: cfg.MaxStrangersPerAddress,
		networks: make(map[netip.Prefix]int),
	}
}

// gateConn is a connection that is counted until it is closed.
type gateConn struct {
	net.Conn
	gate    *gate
	network netip.Prefix
	place   *list.Element // among the strangers; nil for one that is known
	closed  bool
}

// networkOf is the network of an address, which stands for one client: an IPv6
// client has a whole /64.
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

// enter counts a connection; nil means that there is no room for it.
func (g *gate) enter(c net.Conn) *gateConn {
	gc := &gateConn{Conn: c, gate: g, network: networkOf(c.RemoteAddr())}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.networks[gc.network] >= g.networkMost {
		g.evictLocked(func(o *gateConn) bool { return o.network == gc.network })
	} else if g.strangers.Len() >= g.strangersMost {
		g.evictLocked(func(*gateConn) bool { return true })
	}
	if g.open >= g.most {
		return nil
	}
	g.open++
	g.networks[gc.network]++
	gc.place = g.strangers.PushBack(gc)
	return gc
}

// evictLocked closes the oldest stranger that matches.
func (g *gate) evictLocked(match func(*gateConn) bool) {
	for e := g.strangers.Front(); e != nil; e = e.Next() {
		if o := e.Value.(*gateConn); match(o) {
			g.leaveLocked(o)
			o.Conn.Close() // its owner closes it again, which does no harm
			return
		}
	}
}

// knownLocked takes a connection from among the strangers.
func (g *gate) knownLocked(c *gateConn) {
	if c.place == nil {
		return
	}
	g.strangers.Remove(c.place)
	c.place = nil
	if g.networks[c.network]--; g.networks[c.network] == 0 {
		delete(g.networks, c.network)
	}
}

func (g *gate) leaveLocked(c *gateConn) {
	if !c.closed {
		c.closed = true
		g.open--
		g.knownLocked(c)
	}
}

// Close closes the connection and gives its place back.
func (c *gateConn) Close() error {
	c.gate.mu.Lock()
	c.gate.leaveLocked(c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// listener counts the connections of a port.
func (g *gate) listener(l net.Listener) net.Listener { return &gateListener{l, g} }

type gateListener struct {
	net.Listener
	gate *gate
}

// Accept waits for a connection for which there is room.
func (l *gateListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if gc := l.gate.enter(c); gc != nil {
			return gc, nil
		}
		c.Close()
	}
}

type connKey struct{}

// withConn gives requests their connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// known marks the connection of a request as one of a known client.
func known(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*gateConn); ok {
		c.gate.mu.Lock()
		defer c.gate.mu.Unlock()
		c.gate.knownLocked(c)
	}
}
