package apiserver

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
)

// limitListener bounds the connections of a TCP listener, all together and of each address. A
// connection over a bound is closed at once. Clients on loopback, the host's own, count
// only among all.
type limitListener struct {
	net.Listener
	all, each int
	log       *slog.Logger

	mu     sync.Mutex
	open   int
	byAddr map[netip.Addr]int
	logged bool
}

func newLimitListener(inner net.Listener, all, each int, log *slog.Logger) *limitListener {
	return &limitListener{Listener: inner, all: all, each: each, log: log, byAddr: make(map[netip.Addr]int)}
}

// Accept returns the next connection that is within the bounds.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := limitedAddr(conn.RemoteAddr())
		if l.admit(addr) {
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { l.release(addr) })}, nil
		}
		_ = conn.Close() // it is refused without a word
	}
}

// limitedAddr is the address that a connection counts for; the zero value for loopback. IPv6
// clients may have all addresses of a /64.
func limitedAddr(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	if addr.IsLoopback() {
		return netip.Addr{}
	}
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			addr = prefix.Addr()
		}
	}
	return addr
}

func (l *limitListener) admit(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.all || (addr.IsValid() && l.byAddr[addr] >= l.each) {
		if !l.logged {
			l.logged = true
			l.log.Warn("connections to the node's API are closed: there are too many", "address", addr, "all", l.open, "limit", l.all, "limitPerAddress", l.each)
		}
		return false
	}
	l.open++
	if addr.IsValid() {
		l.byAddr[addr]++
	}
	return true
}

func (l *limitListener) release(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if !addr.IsValid() {
		return
	}
	if l.byAddr[addr]--; l.byAddr[addr] == 0 {
		delete(l.byAddr, addr)
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	c.release()
	return c.Conn.Close()
}
