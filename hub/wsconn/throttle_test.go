package wsconn_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/internal/backlog"
	"github.com/edgekit/edgekit/hub/wsconn"
)

func accept(t *testing.T, c *cloud) hub.Conn {
	t.Helper()
	conn, err := c.link.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestThrottle has peers come where one may be under way: those that are
// accepted, that hang up or that say nothing for long make room for the next.
func TestThrottle(t *testing.T) {
	c := newCloud(t, func(cfg *wsconn.ListenerConfig) { cfg.Handshakes = 1 })
	var dialling sync.WaitGroup
	defer dialling.Wait()
	dial := func() {
		dialling.Go(func() {
			conn, err := c.dialer(c.addr, "edge-1").Dial(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { conn.Close() })
		})
	}
	for range 3 {
		dial()
	}
	for range 3 {
		accept(t, c)
	}
	silent := func() net.Conn {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	silent().Close()
	silent()
	begun := time.Now()
	dial()
	accept(t, c)
	if took := time.Since(begun); took < backlog.Patience/2 {
		t.Errorf("the place was not taken: the next one came after %v", took)
	}
}

// TestThrottleCloses ends an Accept that waits for a place.
func TestThrottleCloses(t *testing.T) {
	link, err := wsconn.NewListener(wsconn.ListenerConfig{Handshakes: 1})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := link.Throttle(socket)
	for range 2 {
		conn, err := net.Dial("tcp", socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	for range 2 {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept gives %v", err)
	}
}
