package wsconn_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/edgekit/edgekit/hub/wsconn"
)

// connectProxy runs an HTTP proxy until the test ends, which connects to one address only.
// It returns its URL and how many tunnels it has made.
func connectProxy(t *testing.T, to string) (*url.URL, *atomic.Int32) {
	t.Helper()
	var tunnels atomic.Int32
	var running sync.WaitGroup
	running.Add(1) // the proxy itself, so that a tunnel is never the first to be counted
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != to {
			http.Error(w, "only to the cloud", http.StatusForbidden)
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			far.Close()
			return
		}
		// Only now may the edge send: before, net/http was still reading.
		if _, err := io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			t.Error(err)
		}
		tunnels.Add(1)
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			running.Go(func() {
				defer way[0].Close()
				defer way[1].Close()
				_, _ = io.Copy(way[0], way[1])
			})
		}
	}))
	t.Cleanup(func() {
		proxy.Close()
		running.Done()
		running.Wait()
	})
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, &tunnels
}

// TestConnectProxy goes through an HTTP proxy, which sees only TLS.
func TestConnectProxy(t *testing.T) {
	c := newCloud(t)
	u, tunnels := connectProxy(t, c.addr)
	d, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + c.addr, TLS: c.ClientTLS("edge-1"), Proxy: http.ProxyURL(u)})
	if err != nil {
		t.Fatal(err)
	}
	edge, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer edge.Close()
	cloud, err := c.link.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	out, err := edge.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(out, "hello"); err != nil {
		t.Fatal(err)
	}
	_ = out.CloseWrite()
	in, err := cloud.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(in); err != nil || string(got) != "hello" || tunnels.Load() != 1 || cloud.Peer().Name != "edge-1" {
		t.Errorf("%q, %v, through %d tunnels, from %+v", got, err, tunnels.Load(), cloud.Peer())
	}
	// A proxy that refuses gives an error; the edge does not dial past it.
	if d, err = wsconn.NewDialer(wsconn.DialerConfig{URL: "https://elsewhere.example:1", TLS: c.ClientTLS("edge-1"), Proxy: http.ProxyURL(u)}); err != nil {
		t.Fatal(err)
	}
	if conn, err := d.Dial(t.Context()); err == nil {
		conn.Close()
		t.Error("connected through a proxy that refuses")
	}
}
