package kubeletproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/server"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/quicconn"
	"github.com/edgekit/edgekit/hub/wsconn"
	"github.com/edgekit/edgekit/meta/resources"
)

// How many bytes a session may hold whose client never reads: the largest window of a
// stream of wsconn and quicconn, and the buffers of the copies on the way. The kernel
// holds more for the two TCP connections outside the link, to the client and from the
// runtime: by Linux' defaults up to 4 MiB to send and 6 MiB to receive each.
const (
	mostHeld   = 4<<20 + 256<<10
	mostKernel = 20 << 20
)

// whole is a cloud with a node over a real link, and the node's API.
type whole struct {
	*cloud
	node *benchNode
	cut  context.CancelFunc // ends the node's end of the link

	sent, got atomic.Int64 // bytes of sessions that went into the link at the node, and came out of it
	serving   atomic.Int64 // streams at the node
}

// serve counts what next serves.
func (w *whole) serve(next hub.StreamHandler) hub.StreamHandlerFunc {
	return func(ctx context.Context, r hub.Request, s hub.Stream) error {
		w.serving.Add(1)
		defer w.serving.Add(-1)
		return next.ServeStream(ctx, r, tally{Stream: s, written: &w.sent, read: new(atomic.Int64)})
	}
}

// tally counts a stream's bytes.
type tally struct {
	hub.Stream
	written, read *atomic.Int64
}

func (s tally) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	s.read.Add(int64(n))
	return n, err
}

func (s tally) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	s.written.Add(int64(n))
	return n, err
}

// transport makes the two ends of a link, closed when the test ends.
type transport func(t *testing.T, certs *jointest.Cloud) (hub.Listener, hub.Dialer)

func webSocket(t *testing.T, certs *jointest.Cloud) (hub.Listener, hub.Dialer) {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	links, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: socket.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	front := &http.Server{Handler: links, TLSConfig: certs.ServerTLS(), ErrorLog: log.New(io.Discard, "", 0)}
	dialer, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + socket.Addr().String(), TLS: certs.ClientTLS("edge-1")})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = front.ServeTLS(socket, "", "") }()
	t.Cleanup(func() { links.Close(); front.Close(); <-ended })
	return links, dialer
}

func quic(t *testing.T, certs *jointest.Cloud) (hub.Listener, hub.Dialer) {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	links, err := quicconn.Listen(quicconn.ListenerConfig{Socket: socket, TLS: certs.ServerTLS()})
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: socket.LocalAddr().String(), TLS: certs.ClientTLS("edge-1")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { links.Close(); socket.Close() })
	return links, dialer
}

func newWhole(t *testing.T, transport transport) *whole {
	t.Helper()
	w := &whole{node: newBenchNode(t)}
	api, err := server.New(server.Config{Node: "edge-1", Pods: w.node, Runtime: w.node})
	if err != nil {
		t.Fatal(err)
	}
	streams, err := httplink.NewServer(httplink.ServerConfig{Handler: api})
	if err != nil {
		t.Fatal(err)
	}
	mux := &hub.Mux{}
	mux.HandleStream(resources.NodeProxy, w.serve(streams))
	links, dialer := transport(t, jointest.NewCloud(t))
	directory := &watched{}
	link, err := hub.NewServer(hub.ServerConfig{Listener: links, Directory: directory})
	if err != nil {
		t.Fatal(err)
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: dialer, Node: "edge-1", Mux: mux})
	if err != nil {
		t.Fatal(err)
	}
	w.cloud = newCloud(t, nil)
	w.openStream = func(ctx context.Context, node string, m hub.Message) (hub.Stream, error) {
		s, err := link.OpenStream(ctx, node, m)
		if err != nil {
			return nil, err
		}
		return tally{Stream: s, written: new(atomic.Int64), read: &w.got}, nil
	}
	w.grace = 50 * time.Millisecond
	directory.connected = w.Connected
	ctx, cancel := context.WithCancel(t.Context())
	edge, cut := context.WithCancel(ctx)
	w.cut = cut
	var wg sync.WaitGroup
	wg.Go(func() { _ = link.Run(ctx) })
	wg.Go(func() { _ = client.Run(edge) })
	wg.Go(func() { _ = api.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	w.run(t)
	<-client.Ready()
	return w
}

// watched accepts nodes and reports their sessions.
type watched struct {
	hubtest.Directory
	connected func(hub.Info)
}

func (d *watched) Attach(ctx context.Context, h hub.Hello) (hub.Node, error) {
	n, err := d.Directory.Attach(ctx, h)
	n.Connected = d.connected
	return n, err
}

// open sends a request and reads nothing of the answer.
func (w *whole) open(t *testing.T, request string) net.Conn {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*w.ca.client(t, "admin")}}}
	conn, err := d.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", w.assignPort("edge-1", 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn
}

// settled waits until v has grown and then has not changed for a while. If it grows again
// later, the test measures too little and does not fail.
func settled(v *atomic.Int64) int64 {
	last := int64(0)
	for same := 0; same < 20; same++ {
		<-time.After(20 * time.Millisecond)
		if now := v.Load(); now != last || now == 0 {
			last, same = now, 0
		}
	}
	return last
}

// TestAReaderThatNeverReads: a client asks for more bytes than all buffers hold, and does
// not read them. The bytes that are read from the container stay bounded, others are
// served meanwhile, and the end of the link ends both sides of the session, also the
// client's side, which is blocked in a write.
func TestAReaderThatNeverReads(t *testing.T) {
	const (
		logs = "GET /containerLogs/default/web/app?follow=true HTTP/1.1\r\nHost: x\r\n\r\n"
		exec = "POST /exec/default/web/app?command=pour&output=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n"
	)
	for _, c := range []struct {
		name, request string
		transport     transport
	}{
		{"logs over WebSocket", logs, webSocket}, {"exec over WebSocket", exec, webSocket},
		{"logs over QUIC", logs, quic}, {"exec over QUIC", exec, quic},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWhole(t, c.transport)
			taken := &w.node.poured
			if c.request == logs {
				w.node.say(t, strings.Repeat(strings.Repeat("x", 8<<10)+"\n2026-01-02T03:04:05Z stdout F ", 4<<10)+"last") // 32 MiB
				taken = &w.sent                                                                                            // a log file has no other end
			}
			w.open(t, c.request)
			all := settled(taken)
			held := w.sent.Load() - w.got.Load()
			t.Logf("%d KiB taken from the container, %d KiB held by the link", all>>10, held>>10)
			if held > mostHeld || all > mostHeld+mostKernel {
				t.Errorf("%d bytes held, %d bytes taken: want at most %d and %d", held, all, mostHeld, mostHeld+mostKernel)
			}
			if status, text := w.ask(t, "edge-1", "GET", "/healthz", w.ca.client(t, "admin")); status != 200 || text != "ok" {
				t.Errorf("another request meanwhile: %d %q", status, text)
			}
			w.cut() // for logs it takes 5 s more: TLS tries to send its close_notify alert
			hubtest.Until(t, "no session at the node or in the cloud outlives the link", func() bool {
				return w.serving.Load() == 0 && w.busy() == 0
			})
		})
	}
}

// busy is how many sessions the cloud has open.
func (c *cloud) busy() int {
	c.sessions.mu.Lock()
	defer c.sessions.mu.Unlock()
	return c.sessions.now
}
