package quicconn_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub/quicconn"
)

// TestSlowHellos: a hundred peers begin a hello and never finish it, until the server
// asks every address for a proof. An edge connects meanwhile, and the hundred are dropped
// in less than half a minute.
func TestSlowHellos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const unproven, peers, limit = 8, 100, 25 * time.Second
		c := newBubbleCloud(t)
		link := c.serve(quicconn.ListenerConfig{Unproven: unproven})
		all := initials(t, c, peers+1)
		probe, packets := all[0], all[1:]
		from := c.socket(0)
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
		for asked(c, probe, link.Addr()) {
			if time.Since(begun) > limit {
				t.Fatalf("handshakes are under way after %v", limit)
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
}

// asked sends the first packet of a handshake, from an address of its own, and reports
// whether the server asks for a proof of the address.
func asked(c *cloud, initial []byte, to net.Addr) bool {
	c.t.Helper()
	from := c.socket(0)
	defer from.Close()
	if _, err := from.WriteTo(initial, to); err != nil {
		c.t.Fatal(err)
	}
	if err := from.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		c.t.Fatal(err)
	}
	buf := make([]byte, 2048)
	if _, _, err := from.ReadFrom(buf); err != nil {
		return true // the server drops what it has no time for
	}
	return buf[0]&0xf0 == 0xf0 // Retry, RFC 9000 section 17.2.5
}
