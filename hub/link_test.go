package hub_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestBadConfig checks that the error of a bad configuration names the field.
func TestBadConfig(t *testing.T) {
	n := memconn.New(memconn.Config{})
	for want, cfg := range map[string]hub.ClientConfig{
		"Dialer":          {Node: "a"},
		"Node":            {Dialer: n.Dialer("a")},
		"Instance":        {Dialer: n.Dialer("a"), Node: "a", Instance: strings.Repeat("x", 200)},
		"duration":        {Dialer: n.Dialer("a"), Node: "a", Keepalive: -1},
		"Limits.MaxFrame": {Dialer: n.Dialer("a"), Node: "a", Limits: hub.Limits{MaxFrame: 1}},
		"Limits.Window":   {Dialer: n.Dialer("a"), Node: "a", Limits: hub.Limits{Window: -1}},
		"Capabilities":    {Dialer: n.Dialer("a"), Node: "a", Capabilities: []string{"hub.mine"}},
	} {
		if _, err := hub.NewClient(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for want, cfg := range map[string]hub.ServerConfig{
		"Listener":  {Directory: &hubtest.Directory{}},
		"Directory": {Listener: n},
		"duration":  {Listener: n, Directory: &hubtest.Directory{}, Handshake: -1},
		"limit":     {Listener: n, Directory: &hubtest.Directory{}, MaxNodes: -1},
		"MaxKeys":   {Listener: n, Directory: &hubtest.Directory{}, Limits: hub.Limits{MaxKeys: -1}},
	} {
		if _, err := hub.NewServer(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestRunOnce checks that a second Run returns ErrStarted.
func TestRunOnce(t *testing.T) {
	n := memconn.New(memconn.Config{})
	client, err := hub.NewClient(hub.ClientConfig{Dialer: n.Dialer("a"), Node: "a"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if first, second := client.Run(ctx), client.Run(ctx); first != nil || !errors.Is(second, hub.ErrStarted) {
		t.Errorf("%v, then %v", first, second)
	}
}

// pair runs a server and one client over n until the returned func is called.
func pair(tb testing.TB, n *memconn.Network, dir *hubtest.Directory, cfg hub.ClientConfig) (*hub.Server, *hub.Client, func()) {
	tb.Helper()
	server, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: dir})
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Dialer, cfg.Node = n.Dialer("a"), "a"
	client, err := hub.NewClient(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{server.Run, client.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				tb.Error(err)
			}
		})
	}
	return server, client, func() { cancel(); wg.Wait() }
}

// program runs f until the returned func is called.
func program(t *testing.T, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// TestLongRest runs an idle session for a day, with pings only.
func TestLongRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memconn.New(memconn.Config{Delay: 50 * time.Millisecond})
		server, client, stop := pair(t, n, &hubtest.Directory{}, hub.ClientConfig{Down: &hubtest.Sink{}})
		defer stop()
		<-client.Ready()
		begun := client.Info()
		time.Sleep(24 * time.Hour)
		if got := client.Info(); got != begun || len(server.Nodes()) != 1 {
			t.Errorf("%+v became %+v", begun, got)
		}
	})
}

// TestBackoffWhileTheCloudIsGone counts the attempts in an hour without a cloud, and
// checks that the edge connects soon after it.
func TestBackoffWhileTheCloudIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memconn.New(memconn.Config{})
		dials := &counting{Dialer: n.Dialer("a")}
		n.Refuse(true)
		dir := &hubtest.Directory{}
		server, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: dir})
		if err != nil {
			t.Fatal(err)
		}
		client, err := hub.NewClient(hub.ClientConfig{Dialer: dials, Node: "a"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Run(ctx) })
		wg.Go(func() { _ = client.Run(ctx) })
		time.Sleep(time.Hour)
		if n := dials.n.Load(); n < 120 || n > 480 {
			t.Errorf("%d attempts in an hour, where about 240 are right", n)
		}
		n.Refuse(false)
		back := time.Now()
		<-client.Ready()
		if took := time.Since(back); took > 31*time.Second {
			t.Errorf("back after %v", took)
		}
		cancel()
		wg.Wait()
	})
}

type counting struct {
	hub.Dialer
	n atomic.Int64
}

func (c *counting) Dial(ctx context.Context) (hub.Conn, error) {
	c.n.Add(1)
	return c.Dialer.Dial(ctx)
}

// BenchmarkObjects sends 1,000 objects of 2 KiB to one node over a round trip
// of 200 ms. The figure is virtual/op, the time that the link took; ns/op is
// what the two ends and the simulation of the link cost.
func BenchmarkObjects(b *testing.B) {
	const objects = 1000
	body := strings.Repeat("x", 2048)
	var took time.Duration
	for b.Loop() {
		// A bubble belongs to a test, so each round is one.
		testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "round", F: func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memconn.New(memconn.Config{Delay: 100 * time.Millisecond})
				dir, sink := &hubtest.Directory{}, &hubtest.Sink{}
				_, client, stop := pair(t, n, dir, hub.ClientConfig{Down: sink})
				defer stop()
				<-client.Ready()
				time.Sleep(time.Minute)
				begun := time.Now()
				for i := range objects {
					dir.Down("a").Put(hub.Key{Resource: "configmaps", Name: fmt.Sprint(i)}, 1, body)
				}
				if err := sink.Wait(t.Context(), func() bool { return sink.Len() == objects }); err != nil {
					t.Error(err)
				}
				took += time.Since(begun)
			})
		}}})
	}
	b.ReportMetric(took.Seconds()/float64(b.N), "virtual-s/op")
}

// TestFullServer: a third node is refused while both places are taken, and connects when
// one is free.
func TestFullServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memconn.New(memconn.Config{})
		server, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}, MaxNodes: 2})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Run(ctx) })
		var clients []*hub.Client
		var stops []func()
		for _, node := range []string{"a", "b", "c"} {
			c, err := hub.NewClient(hub.ClientConfig{Dialer: n.Dialer(node), Node: node})
			if err != nil {
				t.Fatal(err)
			}
			cctx, stop := context.WithCancel(ctx)
			wg.Go(func() {
				if err := c.Run(cctx); err != nil {
					t.Error(err)
				}
			})
			clients, stops = append(clients, c), append(stops, stop)
			time.Sleep(time.Second)
		}
		if got := server.Nodes(); len(got) != 2 || clients[2].Info().Connected {
			t.Errorf("connected are %+v", got)
		}
		stops[0]()
		begun := time.Now()
		<-clients[2].Ready()
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("the place was taken after %v", took)
		}
		time.Sleep(time.Second)
		if got := server.Nodes(); len(got) != 2 || got[0].Node != "b" || got[1].Node != "c" {
			t.Errorf("connected are %+v", got)
		}
		cancel()
		wg.Wait()
		stops[1]()
		stops[2]()
	})
}

// TestListenerFails checks that Run returns the error of the listener, and leaves no
// goroutine.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memconn.New(memconn.Config{})
		server, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}})
		if err != nil {
			t.Fatal(err)
		}
		client, err := hub.NewClient(hub.ClientConfig{Dialer: n.Dialer("a"), Node: "a"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done, serverDone := make(chan error, 1), make(chan error, 1)
		go func() { serverDone <- server.Run(ctx) }()
		go func() { done <- client.Run(ctx) }()
		<-client.Ready()
		n.Close()
		if err := <-serverDone; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the server ended with %v", err)
		}
		synctest.Wait()
		if client.Info().Connected {
			t.Error("the edge was not told")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
