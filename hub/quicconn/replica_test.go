package quicconn_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub/quicconn"
)

// detour is the socket of an edge whose load balancer sends it to another
// replica once the first has told it to prove its address.
type detour struct {
	net.PacketConn
	second    net.Addr
	mustProve atomic.Bool
}

func (d *detour) ReadFrom(p []byte) (int, net.Addr, error) {
	n, addr, err := d.PacketConn.ReadFrom(p)
	if n > 0 && p[0]&0xf0 == 0xf0 { // Retry, RFC 9000 section 17.2.5
		d.mustProve.Store(true)
	}
	return n, addr, err
}

func (d *detour) WriteTo(p []byte, addr net.Addr) (int, error) {
	if d.mustProve.Load() {
		addr = d.second
	}
	return d.PacketConn.WriteTo(p, addr)
}

// wary runs a listener that asks every edge to prove its address.
func wary(t *testing.T, c *cloud, key quicconn.Key) *quicconn.Listener {
	t.Helper()
	l := c.serve(quicconn.ListenerConfig{TokenKey: &key, Unproven: 1})
	// One unproven handshake may be under way, and this one is never finished.
	from := c.socket(0)
	t.Cleanup(func() { from.Close() })
	if _, err := from.WriteTo(initials(t, c, 1)[0], l.Addr()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := from.ReadFrom(make([]byte, 2048)); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestProofToReplica: an edge gets a token from one replica and shows it to the other.
// With the same TokenKey it is accepted; with another key the edge is asked once more and
// gives up.
func TestProofToReplica(t *testing.T) {
	for name, tt := range map[string]struct {
		key  quicconn.Key // of the second
		wait time.Duration
		ok   bool
	}{
		"same key":    {quicconn.Key{1}, 20 * time.Second, true},
		"another key": {quicconn.Key{2}, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newBubbleCloud(t)
				first, second := wary(t, c, quicconn.Key{1}), wary(t, c, tt.key)
				way := &detour{PacketConn: c.socket(0), second: second.Addr()}
				s := quicconn.NewSocket(way)
				defer s.Close()
				ctx, cancel := context.WithTimeout(t.Context(), tt.wait)
				defer cancel()
				edge, err := shared(t, c, first, s).Dial(ctx)
				if err == nil {
					defer edge.Close()
				}
				if !way.mustProve.Load() || (err == nil) != tt.ok {
					t.Errorf("told to prove its address: %v; then %v", way.mustProve.Load(), err)
				}
				if !tt.ok {
					return
				}
				if server, err := second.Accept(ctx); err != nil || server.Peer().Name != "edge-1" {
					t.Errorf("the second accepts %v, %v", server, err)
				}
			})
		})
	}
}
