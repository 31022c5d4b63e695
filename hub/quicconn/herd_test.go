package quicconn_test

import (
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/internal/backlog"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// TestHerd has many edges come where two may be under way, while peers that
// begin and never go on take both places again and again: all get through.
func TestHerd(t *testing.T) {
	const edges, silent = 40, 4
	c := newCloud(t)
	link, err := quicconn.Listen(quicconn.ListenerConfig{
		Socket: loopback(t, 0), TLS: c.ServerTLS(), Handshakes: 2, Unproven: 2 * silent,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	from := loopback(t, 0)
	defer from.Close()
	for _, p := range initials(t, c, silent) {
		if _, err := from.WriteTo(p, link.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	var running sync.WaitGroup
	for range edges {
		running.Go(func() {
			conn, err := c.dialer(link.Addr().String(), "edge-1").Dial(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { conn.Close() })
		})
	}
	for range edges {
		conn, err := link.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	running.Wait()
	if took := time.Since(begun); took < backlog.Patience {
		t.Errorf("all got through within %v, while the places were taken", took)
	}
}

// TestCloseBeforeEntry closes a Listener while a connection waits to begin.
func TestCloseBeforeEntry(t *testing.T) {
	c := newCloud(t)
	link, err := quicconn.Listen(quicconn.ListenerConfig{Socket: loopback(t, 0), TLS: c.ServerTLS(), Handshakes: 1, Unproven: 8})
	if err != nil {
		t.Fatal(err)
	}
	from := loopback(t, 0)
	defer from.Close()
	for _, p := range initials(t, c, 3) {
		if _, err := from.WriteTo(p, link.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := from.ReadFrom(make([]byte, 2048)); err != nil { // the first one is under way
		t.Fatal(err)
	}
	if err := link.Close(); err != nil {
		t.Error(err)
	}
}
