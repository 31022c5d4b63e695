package apiserver

import (
	"log/slog"
	"net"
	"testing"
)

// queue is a listener with connections from given addresses.
type queue struct {
	net.Listener
	from []net.Addr
}

// from is a connection from an address.
type from struct {
	net.Conn
	addr   net.Addr
	closed *int
}

func (f from) RemoteAddr() net.Addr { return f.addr }

func (f from) Close() error { *f.closed++; return nil }

func (q *queue) Accept() (net.Conn, error) {
	if len(q.from) == 0 {
		return nil, net.ErrClosed
	}
	addr := q.from[0]
	q.from = q.from[1:]
	return from{addr: addr, closed: new(int)}, nil
}

// TestConnectionLimits closes connections over the bounds and gives places back.
func TestConnectionLimits(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }
	q := &queue{}
	l := newLimitListener(q, 6, 2, slog.New(slog.DiscardHandler))
	accept := func(addrs ...string) (conns []net.Conn) {
		for _, a := range addrs {
			q.from = append(q.from, tcp(a))
		}
		for {
			conn, err := l.Accept()
			if err != nil {
				return conns
			}
			conns = append(conns, conn)
		}
	}
	first := accept("10.0.0.1", "10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2") // one address, written in two ways
	if len(first) != 3 {
		t.Fatalf("%d connections, want 3", len(first))
	}
	if again := accept("10.0.0.1"); len(again) != 0 {
		t.Error("over the bound of an address")
	}
	_, _ = first[0].Close(), first[0].Close() // twice gives one place back
	if again := accept("10.0.0.1", "10.0.0.1"); len(again) != 1 {
		t.Errorf("%d connections after one was closed, want 1", len(again))
	}
	if v6 := accept("2001:db8::1", "2001:db8::2", "2001:db8::3"); len(v6) != 2 {
		t.Errorf("%d connections of a /64, want 2", len(v6))
	}
	if local := accept("127.0.0.1", "127.0.0.1", "127.0.0.1"); len(local) != 1 {
		t.Errorf("%d connections of loopback within the bound of all, want 1", len(local))
	}
}
