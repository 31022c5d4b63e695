package wsconn_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/internal/load"
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

// TestThrottle: one handshake may be under way. A peer that is accepted, hangs up or is
// silent for too long makes room for the next; a peer that never sends a byte takes no
// place.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubbleCloud(t, func(cfg *wsconn.ListenerConfig) { cfg.Handshakes = 1 })
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
		silent := func(says string) net.Conn {
			conn, err := c.network.DialContext(t.Context(), "tcp", c.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := conn.Write([]byte(says)); err != nil {
				t.Fatal(err)
			}
			return conn
		}
		underWay := func() int { return c.link.Backlog()["websocket"].UnderWay }
		silent("").Close()
		silent("")
		synctest.Wait()
		begun := time.Now()
		dial()
		accept(t, c)
		silent("\x16")
		if synctest.Wait(); underWay() != 1 {
			t.Errorf("%d are under way", underWay())
		}
		dial()
		accept(t, c)
		if took := time.Since(begun); took < load.BusySlotTime/2 {
			t.Errorf("the place was not taken: the next one came after %v", took)
		}
	})
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
		if _, err := conn.Write([]byte{0x16}); err != nil {
			t.Fatal(err)
		}
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

// pipes is a socket whose connections come from the addresses that a test names.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

type fromAddr struct {
	net.Conn
	addr net.Addr
}

func (c fromAddr) RemoteAddr() net.Addr { return c.addr }

func (p *pipes) dial(ip string) net.Conn {
	here, there := net.Pipe()
	p.conns <- fromAddr{there, &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
	return here
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.done) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestThrottleBounds: one network opens more and more connections, which send nothing or
// one byte. Their number is bounded, and a connection of another network is served
// meanwhile, as soon as it sends a byte.
func TestThrottleBounds(t *testing.T) {
	for name, says := range map[string]string{"silent": "", "one byte": "\x16"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { throttleBounds(t, says) })
		})
	}
}

// acceptAll accepts connections until l is closed, and then closes the channel.
func acceptAll(l net.Listener) <-chan net.Conn {
	given := make(chan net.Conn, 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(given)
				return
			}
			given <- c // nobody reads on, like a TLS server that waits for the rest of a hello
		}
	}()
	return given
}

// checkBytes checks that the first byte, which the Listener has read, comes before the
// others.
func checkBytes(t *testing.T, other, last net.Conn) {
	t.Helper()
	b := make([]byte, 9)
	go func() { _, _ = other.Write([]byte("\x03\x01")) }()
	if n, err := last.Read(b); n != 1 || b[0] != 0x16 || err != nil {
		t.Errorf("read %x, %v", b[:n], err)
	}
	if n, err := last.Read(b); n != 2 || b[0] != 0x03 || err != nil {
		t.Errorf("then read %x, %v", b[:n], err)
	}
}

// throttleBounds is TestThrottleBounds with connections that send says.
func throttleBounds(t *testing.T, says string) {
	const handshakes, most = 8, 64
	link, err := wsconn.NewListener(wsconn.ListenerConfig{Handshakes: handshakes, Pending: most})
	if err != nil {
		t.Fatal(err)
	}
	socket := newPipes()
	l := link.Throttle(socket)
	given := acceptAll(l)
	open, ended := 0, make(chan struct{}, 1000)
	for range 3 * most {
		c := socket.dial("192.0.2.1")
		open++
		go func() {
			defer c.Close()
			if says != "" {
				_, _ = c.Write([]byte(says))
			}
			_, _ = c.Read(make([]byte, 1))
			ended <- struct{}{}
		}()
		synctest.Wait()
		time.Sleep(time.Millisecond)
	}
	if open -= len(ended); open > most {
		t.Errorf("%d connections are open", open)
	}
	if says == "" && len(given) > 0 {
		t.Errorf("%d silent connections were given out", len(given))
	}
	begun := time.Now()
	other := socket.dial("198.51.100.1")
	if _, err := other.Write([]byte{0x16}); err != nil {
		t.Fatal(err)
	}
	var last net.Conn
	for last == nil {
		c := <-given
		if !strings.HasPrefix(c.RemoteAddr().String(), "198.") {
			defer c.Close()
			continue
		}
		last = c
	}
	if took := time.Since(begun); took > load.BusySlotTime || says == "" && took > 0 {
		t.Errorf("one of another network waits for %v", took)
	}
	checkBytes(t, other, last)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	last.Close()
	if n := link.Backlog()["websocket"]; says == "" && n.UnderWay+n.Waiting != 0 {
		t.Errorf("%+v are under way at the end", n)
	}
	other.Close()
	for c := range given {
		c.Close()
	}
	time.Sleep(time.Minute)
}

// TestThrottleBehindABalancer: only the header of a trusted balancer names the client.
func TestThrottleBehindABalancer(t *testing.T) {
	const header = "PROXY TCP4 198.51.100.7 192.0.2.1 4660 443\r\n"
	for _, tt := range []struct{ from, says, want string }{
		{"192.0.2.1", header + "\x16", "198.51.100.7:4660"},
		{"192.0.2.1", "PROXY UNKNOWN\r\n\x16", "192.0.2.1:1"},
		{"192.0.2.1", "\x16\x03\x01 and so on", ""}, // it is closed
		{"203.0.113.1", header, "203.0.113.1:1"},    // the TLS handshake will fail
	} {
		synctest.Test(t, func(t *testing.T) {
			link, err := wsconn.NewListener(wsconn.ListenerConfig{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
			if err != nil {
				t.Fatal(err)
			}
			socket := newPipes()
			l := link.Throttle(socket)
			got := make(chan string, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					got <- ""
					return
				}
				defer c.Close()
				got <- c.RemoteAddr().String()
				_, _ = io.Copy(io.Discard, c)
			}()
			c := socket.dial(tt.from)
			go func() { _, _ = c.Write([]byte(tt.says)) }()
			synctest.Wait()
			if tt.want == "" {
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Error("it stays open")
				}
				l.Close()
			}
			if g := <-got; g != tt.want {
				t.Errorf("%q of %s comes from %q, want %q", tt.says, tt.from, g, tt.want)
			}
			c.Close()
			l.Close()
			time.Sleep(time.Minute)
		})
	}
}
