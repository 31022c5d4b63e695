package quicconn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/internal/load"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// TestManyAtOnce: two handshakes may be under way, and peers that never finish theirs
// have both places. All of many edges connect nevertheless.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const edges, silent = 40, 2
		c := newBubbleCloud(t)
		link := c.serve(quicconn.ListenerConfig{Handshakes: 2, Unproven: 2 * silent})
		from := c.socket(0)
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
				for t.Context().Err() == nil { // an edge that waits for too long dials again, as hub.Client does
					conn, err := c.dialer(link.Addr().String(), "edge-1").Dial(t.Context())
					if err == nil {
						t.Cleanup(func() { conn.Close() })
						return
					}
				}
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
		if took := time.Since(begun); took < load.SlotTime {
			t.Errorf("all got through within %v, while the places were taken", took)
		}
	})
}

// TestCloseBeforeEntry closes a Listener while a connection waits to begin.
func TestCloseBeforeEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubbleCloud(t)
		link := c.serve(quicconn.ListenerConfig{Handshakes: 1, Unproven: 8})
		from := c.socket(0)
		defer from.Close()
		for _, p := range initials(t, c, 3) {
			if _, err := from.WriteTo(p, link.Addr()); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := from.ReadFrom(make([]byte, 2048)); err != nil { // the first one is under way
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := link.Backlog()["quic"], (hub.Backlog{UnderWay: 1, Waiting: 2}); got != want {
			t.Fatalf("%v are on their way in, want %v", got, want)
		}
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestNoRoots checks that the server does not send the root, which an edge must have
// itself.
func TestNoRoots(t *testing.T) {
	c := newCloud(t)
	seen := 0
	cfg := c.ClientTLS("edge-1")
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		seen = len(s.PeerCertificates)
		return nil
	}
	d, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: c.link.Addr().String(), TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if seen != 1 {
		t.Errorf("the server sent %d certificates", seen)
	}
}

// TestCloseWhileWriting closes a Listener whose connections are all writing:
// their writes end.
func TestCloseWhileWriting(t *testing.T) {
	const edges = 8
	c := newCloud(t)
	var writing sync.WaitGroup
	for range edges {
		edge, server := pair(t, c, c.link.Addr().String())
		s, err := edge.OpenStream(t.Context())
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, s) }()
		far, err := server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		writing.Go(func() {
			for err := error(nil); err == nil; {
				_, err = far.Write(make([]byte, 64<<10))
			}
		})
	}
	if err := c.link.Close(); err != nil {
		t.Error(err)
	}
	writing.Wait()
}

// TestAcceptLate: many edges finish their handshake before the first Accept. None is
// refused, although quic-go refuses a connection when 32 wait.
func TestAcceptLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const edges = 120
		c, all := newBubbleCloud(t), make(chan struct{})
		link := c.serve(quicconn.ListenerConfig{NodeName: func(*x509.Certificate) (string, error) {
			<-all
			return "edge-1", nil
		}})
		var running sync.WaitGroup
		conns := make([]hub.Conn, edges)
		for i := range conns {
			running.Go(func() {
				var err error
				if conns[i], err = c.dialer(link.Addr().String(), "edge-1").Dial(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		close(all)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i, edge := range conns {
			far, err := link.Accept(ctx)
			if err != nil {
				t.Fatalf("%d of %d edges got through: %v", i, edges, err)
			}
			defer far.Close()
			if edge != nil {
				defer edge.Close()
			}
		}
	})
}
