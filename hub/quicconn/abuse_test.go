package quicconn_test

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/quicconn"
)

func loopback(t testing.TB, port int) *net.UDPConn {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// initials are the first packets of so many handshakes.
func initials(t *testing.T, c *cloud, n int) [][]byte {
	t.Helper()
	trap := c.socket(0)
	defer trap.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var dialling sync.WaitGroup
	defer dialling.Wait()
	defer cancel()
	d := c.dialer(trap.LocalAddr().String(), "edge-1")
	seen := make(map[string][]byte) // by connection id
	for len(seen) < n {
		dialling.Go(func() { _, _ = d.Dial(ctx) })
		for before := len(seen); len(seen) == before; {
			buf := make([]byte, 2048)
			k, _, err := trap.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			id := string(buf[6 : 6+buf[5]]) // RFC 9000 section 17.2
			if seen[id] == nil {
				seen[id] = buf[:k]
			}
		}
	}
	all := make([][]byte, 0, n)
	for _, p := range seen {
		all = append(all, p)
	}
	return all
}

// TestInitialFlood begins many handshakes from an unproven address and completes none:
// beyond ListenerConfig.Unproven the server only asks each for a proof of its address,
// which costs nothing. The count is not exact, since a hello comes in two packets; in a
// burst not every one is asked.
func TestInitialFlood(t *testing.T) {
	const unproven, flood = 8, 60
	c := newCloud(t)
	link := c.serve(quicconn.ListenerConfig{Unproven: unproven})
	packets := initials(t, c, flood)
	from := loopback(t, 0)
	defer from.Close()
	before := heap()
	for _, p := range packets {
		if _, err := from.WriteTo(p, link.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	retries, served := 0, make(map[string]bool)
	buf := make([]byte, 2048)
	if err := from.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for retries == 0 {
		n, _, err := from.ReadFrom(buf)
		if err != nil {
			t.Fatalf("nobody was told to prove an address: %v", err)
		}
		switch first := buf[0]; {
		case n < 7 || first&0x80 == 0:
		case first&0x30 == 0x30: // Retry, RFC 9000 section 17.2.5
			retries++
		default:
			k := int(buf[5])
			served[string(buf[6+k+1:6+k+1+int(buf[6+k])])] = true
		}
	}
	if len(served) > 2*unproven {
		t.Errorf("%d handshakes are under way, at most %d may be", len(served), 2*unproven)
	}
	if grown := (heap() - before) / 1024; grown > 256*unproven {
		t.Errorf("the flood costs %d KiB", grown)
	}
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// TestUnreadStream checks that a stream which nobody reads holds its window and no more.
func TestUnreadStream(t *testing.T) {
	c := newCloud(t)
	edge, _ := pair(t, c, c.link.Addr().String())
	s, err := edge.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write(make([]byte, 4<<20)); err == nil || n > 64<<10 {
		t.Errorf("%d bytes were taken that nobody reads, %v", n, err)
	}
}
