package quicconn_test

import (
	"net"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/quicconn"
)

// TestSlowHellos has a hundred peers begin a hello and never end it, until the
// server trusts no address: an edge gets through meanwhile, and the hundred are
// forgotten in less than half a minute.
func TestSlowHellos(t *testing.T) {
	t.Parallel()
	const unproven, peers, limit = 8, 100, 25 * time.Second
	c := newCloud(t)
	link, err := quicconn.Listen(quicconn.ListenerConfig{Socket: loopback(t, 0), TLS: c.ServerTLS(), Unproven: unproven})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	all := initials(t, c, peers+1)
	probe, packets := all[0], all[1:]
	from := loopback(t, 0)
	defer from.Close()
	begun := time.Now()
	for _, p := range packets {
		if _, err := from.WriteTo(p, link.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	edge, err := c.dialer(link.Addr().String(), "edge-1").Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer edge.Close()
	server, err := link.Accept(t.Context())
	if err != nil || server.Peer().Name != "edge-1" {
		t.Fatalf("accepted %v, %v", server, err)
	}
	for asked(t, probe, link.Addr()) {
		if time.Since(begun) > limit {
			t.Fatalf("handshakes are under way after %v", limit)
		}
		<-time.After(500 * time.Millisecond)
	}
}

// asked sends the first packet of a handshake, from an address of its own, and
// reports whether the server has the address proved.
func asked(t *testing.T, initial []byte, to net.Addr) bool {
	t.Helper()
	from := loopback(t, 0)
	defer from.Close()
	if _, err := from.WriteTo(initial, to); err != nil {
		t.Fatal(err)
	}
	if err := from.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	if _, _, err := from.ReadFrom(buf); err != nil {
		return true // the server drops what it has no time for
	}
	return buf[0]&0xf0 == 0xf0 // Retry, RFC 9000 section 17.2.5
}
