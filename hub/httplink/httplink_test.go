package httplink_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const node = "edge-1"

// link is a cloud and an edge that serves a handler.
type link struct {
	net       *memconn.Network
	cloud     *hub.Server
	transport *httplink.Transport
}

func newLink(t *testing.T, cfg httplink.ServerConfig) *link {
	t.Helper()
	server, err := httplink.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := &hub.Mux{}
	mux.HandleStream("web", server)
	l := &link{net: memconn.New(memconn.Config{})}
	if l.cloud, err = hub.NewServer(hub.ServerConfig{Listener: l.net, Directory: &hubtest.Directory{}}); err != nil {
		t.Fatal(err)
	}
	edge, err := hub.NewClient(hub.ClientConfig{Dialer: l.net.Dialer(node), Node: node, Mux: mux, Backoff: hub.Backoff{Min: time.Hour, Max: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.cloud.Run(ctx) })
	wg.Go(func() { _ = edge.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait(); l.net.Close() })
	<-edge.Ready()
	l.transport = httplink.NewTransport(func(ctx context.Context, host string) (hub.Stream, error) {
		return l.cloud.OpenStream(ctx, host, hub.Message{Key: hub.Key{Resource: "web"}})
	})
	return l
}

func (l *link) get(t *testing.T, host, path string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l.transport.RoundTrip(req)
}

func TestStatusHeaderAndBodyAreCarried(t *testing.T) {
	l := newLink(t, httplink.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Path", r.URL.RequestURI())
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(append([]byte("got "), body...))
	})})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+node+"/a?b=c", strings.NewReader(strings.Repeat("x", 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := l.transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Path") != "/a?b=c" || len(body) != 1<<20+4 {
		t.Errorf("%d %v %d %v", resp.StatusCode, resp.Header, len(body), err)
	}
}

func TestOfflineIsReported(t *testing.T) {
	l := newLink(t, httplink.ServerConfig{Handler: http.NotFoundHandler()})
	if _, err := l.get(t, "edge-2", "/"); !errors.Is(err, hub.ErrOffline) {
		t.Errorf("%v, want ErrOffline", err)
	}
}

// TestBrokenLinkIsNoEnd cuts the link in the middle of a body.
func TestBrokenLinkIsNoEnd(t *testing.T) {
	ended := make(chan struct{})
	l := newLink(t, httplink.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		_, _ = io.WriteString(w, "first\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})})
	resp, err := l.get(t, node, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	if line, err := in.ReadString('\n'); line != "first\n" || err != nil {
		t.Fatalf("%q %v", line, err)
	}
	l.net.Cut(node)
	if _, err := in.ReadByte(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the body ended with %v", err)
	}
	<-ended
}

func TestClientThatGoesEndsTheHandler(t *testing.T) {
	ended := make(chan struct{})
	l := newLink(t, httplink.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})})
	resp, err := l.get(t, node, "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-ended
}

// upper answers an upgrade and sends back what it gets in capitals; it says
// "end" when the client has closed its half.
func upper(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "upper" {
		http.Error(w, "unknown protocol", http.StatusForbidden)
		return
	}
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "upper")
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	text, err := io.ReadAll(rw)
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, strings.ToUpper(string(text))+" end")
}

// TestUpgradeThroughProxies does what kubectl exec does: the bytes pass an HTTP server,
// the link, and a handler that is itself a proxy.
func TestUpgradeThroughProxies(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(upper))
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(t, httplink.ServerConfig{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}})
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: node}) },
		Transport: l.transport,
	})
	defer front.Close()
	defer backend.CloseClientConnections()
	for _, c := range []struct {
		upgrade string
		status  int
	}{{"upper", http.StatusSwitchingProtocols}, {"lower", http.StatusForbidden}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", c.upgrade)
		resp, err := front.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != c.status {
			t.Errorf("%s: status %d", c.upgrade, resp.StatusCode)
		}
		if rw, ok := resp.Body.(io.ReadWriteCloser); ok && c.status == http.StatusSwitchingProtocols {
			_, _ = io.WriteString(rw, "hello")
			if err := rw.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Error(err)
			}
			if text, err := io.ReadAll(rw); string(text) != "HELLO end" || err != nil {
				t.Errorf("%q %v", text, err)
			}
		}
		resp.Body.Close()
	}
}

func TestHugeHeaderIsRefused(t *testing.T) {
	l := newLink(t, httplink.ServerConfig{Handler: http.NotFoundHandler(), MaxHeader: 8 << 10})
	resp, err := l.get(t, node, "/?"+strings.Repeat("x", 64<<10))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []httplink.ServerConfig{{}, {Handler: http.NotFoundHandler(), MaxHeader: -1}} {
		if _, err := httplink.NewServer(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

// The node serves a page through the connection that it dialled.
func ExampleTransport() {
	network := memconn.New(memconn.Config{})
	defer network.Close()
	page, err := httplink.NewServer(httplink.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s", r.URL.Path)
	})})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := &hub.Mux{}
	mux.HandleStream("web", page)
	edge, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("edge-1"), Node: "edge-1", Mux: mux})
	if err != nil {
		fmt.Println(err)
		return
	}
	cloud, err := hub.NewServer(hub.ServerConfig{Listener: network, Directory: &hubtest.Directory{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	wg.Go(func() { _ = cloud.Run(ctx) })
	wg.Go(func() { _ = edge.Run(ctx) })
	<-edge.Ready()

	web := http.Client{Transport: httplink.NewTransport(func(ctx context.Context, host string) (hub.Stream, error) {
		return cloud.OpenStream(ctx, host, hub.Message{Key: hub.Key{Resource: "web"}})
	})}
	resp, err := web.Get("http://edge-1/kitchen")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := io.ReadAll(resp.Body)
	fmt.Printf("%s %v\n", text, err)
	resp.Body.Close()
	// Output: hello from /kitchen <nil>
}
