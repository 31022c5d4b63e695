package wsconn_test

import (
	"context"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// link runs a server and one edge over TLS on loopback, through addr.
func link(b *testing.B, c *cloud, addr string, edges int, keepalive time.Duration) *hub.Server {
	b.Helper()
	var mux hub.Mux
	mux.Handle("echo", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) { return r.Message, nil }))
	mux.HandleStream("sink", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, s, make([]byte, 64<<10))
		return err
	}))
	server, err := hub.NewServer(hub.ServerConfig{Listener: c.link, Directory: &hubtest.Directory{}, Mux: &mux, Keepalive: time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Run(ctx) })
	for i := range edges {
		node := "edge-" + string(rune('a'+i%26)) + "-" + string(rune('a'+i/26))
		client, err := hub.NewClient(hub.ClientConfig{
			Dialer: c.dialer(addr, node), Node: node, Mux: &mux, Keepalive: keepalive, Down: &hubtest.Sink{},
		})
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() { _ = client.Run(ctx) })
		<-client.Ready()
	}
	b.Cleanup(func() { cancel(); wg.Wait() })
	return server
}

// BenchmarkCall is a round trip from the cloud to an edge and back, over TLS
// on loopback.
func BenchmarkCall(b *testing.B) {
	c := newCloud(b)
	server := link(b, c, c.addr, 1, time.Minute)
	m := hub.Message{Key: hub.Key{Resource: "echo"}, Body: make([]byte, 100)}
	for b.Loop() {
		if _, err := server.Call(b.Context(), "edge-a-a", m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStream is one stream from the cloud to an edge.
func BenchmarkStream(b *testing.B) {
	c := newCloud(b)
	server := link(b, c, c.addr, 1, time.Minute)
	s, err := server.OpenStream(b.Context(), "edge-a-a", hub.Message{Key: hub.Key{Resource: "sink"}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := s.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRest counts the bytes of one keepalive above TCP, both ways. Two megabytes a
// day at 30 s are 728 bytes each, TCP included.
func BenchmarkRest(b *testing.B) {
	c := newCloud(b)
	const interval = 20 * time.Millisecond
	p := hubtest.NewProxy(b, c.addr)
	link(b, c, p.Addr(), 1, interval)
	<-time.After(5 * interval) // past the digests
	before := p.Bytes()
	begun := time.Now()
	for b.Loop() {
		<-time.After(interval)
	}
	pings := time.Since(begun).Seconds() / interval.Seconds()
	b.ReportMetric(float64(p.Bytes()-before)/pings, "B/keepalive")
}

// BenchmarkSession is the memory of a link at rest, both ends in one process.
func BenchmarkSession(b *testing.B) {
	const edges = 200
	c := newCloud(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	link(b, c, c.addr, edges, time.Minute)
	for b.Loop() {
		runtime.GC()
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/edges/1024, "KiB/link")
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/edges, "goroutines/link")
}
