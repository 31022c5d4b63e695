package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestDrain stops a server with 100 nodes: their sessions end one after the other, and no
// node comes back sooner than it was asked to.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
		server := newServer(t, hub.ServerConfig{
			Listener: n, Directory: dir, Drain: time.Second, ReturnAfter: 30 * time.Second,
		})
		stop := program(t, server.Run)
		for i := range 100 {
			node := fmt.Sprint("n", i)
			defer program(t, newClient(t, n, node, nil).Run)()
		}
		time.Sleep(time.Second)
		if got := len(server.Nodes()); got != 100 {
			t.Fatalf("%d nodes are connected", got)
		}
		stopped := time.Now()
		stop()
		var gone []time.Duration
		for _, i := range dir.Infos() {
			if !i.Connected {
				gone = append(gone, i.Since.Sub(stopped))
			}
		}
		if took := time.Since(stopped); len(gone) != 100 || took < 900*time.Millisecond || took > 3*time.Second {
			t.Errorf("%d nodes went, in %v", len(gone), took)
		}
		inFirstTenth := 0
		for _, d := range gone {
			if d < 100*time.Millisecond {
				inFirstTenth++
			}
		}
		if inFirstTenth < 5 || inFirstTenth > 15 {
			t.Errorf("%d of 100 nodes went in the first tenth of the time", inFirstTenth)
		}
		second := newServer(t, hub.ServerConfig{Listener: n, Directory: dir})
		defer program(t, second.Run)()
		time.Sleep(25 * time.Second)
		if got := len(second.Nodes()); got != 0 {
			t.Errorf("%d nodes came back before they were asked to", got)
		}
		time.Sleep(10 * time.Second)
		if got := len(second.Nodes()); got != 100 {
			t.Errorf("%d nodes came back", got)
		}
		if got := server.Stats(); got.Ended[hub.EndDrained] != 100 || len(got.Sessions) != 0 {
			t.Errorf("counted were %+v", got)
		}
	})
}

// TestManyReturnSpread: 1,000 nodes connect at once to a server that accepts 50 a second.
func TestManyReturnSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes, rate = 1000, 50
		n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, HandshakeRate: rate})
		defer program(t, server.Run)()
		for i := range nodes {
			defer program(t, newClient(t, n, fmt.Sprint("n", i), nil).Run)()
		}
		begun := time.Now()
		peak, before := 0, 0
		for len(server.Nodes()) < nodes {
			time.Sleep(time.Second)
			now := len(server.Nodes())
			peak, before = max(peak, now-before), now
			if time.Since(begun) > time.Minute {
				t.Fatalf("%d nodes are in after a minute", now)
			}
		}
		if peak > rate {
			t.Errorf("%d came in within a second where %d are allowed", peak, rate)
		}
		stats := server.Stats()
		t.Logf("all in after %v, at most %d a second, sent away %d times", time.Since(begun), peak, stats.Handshakes[hub.HandshakeRate])
		if stats.Handshakes[hub.HandshakeOK] != nodes || stats.Handshakes[hub.HandshakeRate] == 0 {
			t.Errorf("handshakes were %v", stats.Handshakes)
		}
	})
}

// TestDisconnectIsAtOnce: a peer goes on sending after Disconnect. The server ignores its
// frames and cancels its calls and streams.
func TestDisconnectIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir, mux := memconn.New(memconn.Config{Delay: 100 * time.Millisecond}), &hubtest.Directory{}, &hub.Mux{}
		var cancelled time.Time
		mux.Handle("slow", hub.HandlerFunc(func(ctx context.Context, _ hub.Request) (hub.Message, error) {
			<-ctx.Done()
			cancelled = time.Now()
			return hub.Message{}, ctx.Err()
		}))
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, Mux: mux})
		defer program(t, server.Run)()
		up := &hubtest.AckedSource{}
		client := newClient(t, n, "a", func(cfg *hub.ClientConfig) { cfg.Up = up })
		done := make(chan error, 1)
		go func() { done <- client.Run(t.Context()) }()
		<-client.Ready()
		go func() { _, _ = client.Call(t.Context(), hub.Message{Key: hub.Key{Resource: "slow"}}) }()
		time.Sleep(time.Second)
		up.Put(hub.Key{Name: "late"}, 1, "is on its way")
		synctest.Wait()
		begun := time.Now()
		if err := server.Disconnect("a", &hub.Error{Code: hub.CodeForbidden, Text: "revoked"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if cancelled != begun {
			t.Errorf("the call ended %v later", cancelled.Sub(begun))
		}
		refused, ok := errors.AsType[*hub.RefusedError](<-done)
		if !ok || refused.Err.Text != "revoked" {
			t.Errorf("the client ended with %v", refused)
		}
		time.Sleep(2 * time.Second)
		if dir.Up("a").Len() != 0 {
			t.Error("a report was taken after the end")
		}
		if err := server.Disconnect("a", nil); !errors.Is(err, hub.ErrOffline) {
			t.Errorf("once more: %v", err)
		}
		if got := server.Stats().Ended; got[hub.EndDisconnected] != 1 {
			t.Errorf("ended were %v", got)
		}
	})
}

// TestServersShareClaims runs two servers of one cloud: a node's session on one ends when
// a newer one begins on the other, and one of two programs with one identity is fenced
// although each uses another server.
func TestServersShareClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claims := &hubtest.Claims{}
		var nets [2]*memconn.Network
		var servers [2]*hub.Server
		for i := range servers {
			nets[i] = memconn.New(memconn.Config{})
			servers[i] = newServer(t, hub.ServerConfig{Listener: nets[i], Directory: &hubtest.Directory{Claims: claims}})
			claims.Watch(servers[i].Supersede)
			defer program(t, servers[i].Run)()
		}
		connected := func(i int) bool { synctest.Wait(); return len(servers[i].Nodes()) == 1 }

		// The same program moves to the other server, and its old connection is still
		// open.
		roaming := &roamer{nets: nets[:]}
		first := newClient(t, nets[0], "a", func(cfg *hub.ClientConfig) { cfg.Dialer, cfg.Instance = roaming, "first" })
		firstDone := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { firstDone <- first.Run(ctx) }()
		<-first.Ready()
		epoch := first.Info().Epoch
		nets[0].Stall("a", true)
		roaming.to(1)
		time.Sleep(time.Minute)
		if connected(0) || !connected(1) || first.Info().Epoch <= epoch {
			t.Fatalf("after the move: %v %v, epoch %d after %d", servers[0].Nodes(), servers[1].Nodes(), first.Info().Epoch, epoch)
		}
		nets[0].Stall("a", false)
		if got := first.Info().Previous; got != epoch {
			t.Errorf("the session before is said to be %d, it was %d", got, epoch)
		}

		// Another program comes to the first server.
		second := newClient(t, nets[0], "a", func(cfg *hub.ClientConfig) { cfg.Instance = "second" })
		defer program(t, second.Run)()
		synctest.Wait()
		fenced := first.Fenced()
		if fenced == nil || fenced.Instance != "first" || !strings.Contains(fenced.Holder, `"second"`) || !connected(0) || connected(1) {
			t.Fatalf("the first program is told %v; %v %v", fenced, servers[0].Nodes(), servers[1].Nodes())
		}
		// The fenced program gets a session at neither server while the other has the
		// node.
		again := newClient(t, nets[1], "a", func(cfg *hub.ClientConfig) { cfg.Instance = "first" })
		defer program(t, again.Run)()
		time.Sleep(time.Hour)
		if again.Fenced() == nil || first.Fenced() == nil || !connected(0) {
			t.Error("the loser was let in")
		}
		// It asks rarely.
		if got := servers[1].Stats().Handshakes[hub.HandshakeFenced]; got < 10 || got > 30 {
			t.Errorf("%d handshakes were fenced", got)
		}
		cancel()
		if err := <-firstDone; err != nil {
			t.Error(err)
		}
	})
}

// roamer dials one of several networks.
type roamer struct {
	mu   sync.Mutex
	at   int
	nets []*memconn.Network
}

func (r *roamer) to(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = i
}

func (r *roamer) Dial(ctx context.Context) (hub.Conn, error) {
	r.mu.Lock()
	n := r.nets[r.at]
	r.mu.Unlock()
	return n.Dialer("a").Dial(ctx)
}

func newServer(t *testing.T, cfg hub.ServerConfig) *hub.Server {
	t.Helper()
	server, err := hub.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func newClient(t *testing.T, n *memconn.Network, node string, edit func(*hub.ClientConfig)) *hub.Client {
	t.Helper()
	cfg := hub.ClientConfig{Dialer: n.Dialer(node), Node: node}
	if edit != nil {
		edit(&cfg)
	}
	client, err := hub.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestStats checks that both sides count everything that can be counted.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir, mux := memconn.New(memconn.Config{Delay: 25 * time.Millisecond}), &hubtest.Directory{}, &hub.Mux{}
		mux.Handle("echo", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) {
			return hub.Message{Body: r.Message.Body}, nil
		}))
		mux.HandleStream("talk", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
			_, err := s.Write(make([]byte, 1000))
			return err
		}))
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, Mux: mux})
		defer program(t, server.Run)()
		dir.Down("a").Put(hub.Key{Name: "x"}, 1, "0123456789")
		dir.Down("a").Put(hub.Key{Name: "y"}, 1, string(make([]byte, 5<<20)))
		outbox := &hubtest.Outbox{}
		outbox.Append("s", hub.Key{Name: "e"}, "it rained")
		client := newClient(t, n, "a", func(cfg *hub.ClientConfig) {
			cfg.Down, cfg.Outbox, cfg.Inbox = &hubtest.Sink{}, outbox, &hubtest.Inbox{}
		})
		defer program(t, client.Run)()
		<-client.Ready()
		if _, err := client.Call(t.Context(), hub.Message{Key: hub.Key{Resource: "echo"}, Body: make([]byte, 100)}); err != nil {
			t.Fatal(err)
		}
		s, err := client.OpenStream(t.Context(), hub.Message{Key: hub.Key{Resource: "talk"}})
		if err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 100); err == nil; _, err = s.Read(b) {
		}
		s.Close()
		time.Sleep(5 * time.Minute)
		cloud, edge := server.Stats(), client.Stats()
		for _, w := range []struct {
			what string
			have any
			want any
		}{
			{"sessions", cloud.Sessions, map[string]int{"mem": 1}},
			{"handshakes", cloud.Handshakes, map[hub.HandshakeResult]uint64{hub.HandshakeOK: 1}},
			{"lists", cloud.ResyncsListed, uint64(1)},
			{"equal", edge.ResyncsEqual, uint64(0)},
			{"acked objects", cloud.Acked, map[hub.Class]uint64{hub.ClassState: 1}},
			{"acked events", edge.Acked, map[hub.Class]uint64{hub.ClassEvent: 1}},
			{"dropped", cloud.Dropped, map[hub.Drop]uint64{{Class: hub.ClassState, Reason: hub.DropTooLarge}: 1}},
			{"queued", cloud.Queued, map[hub.Class]int{}},
			{"calls", edge.Sent[hub.ClassCall].Messages, uint64(1)},
			{"answers", edge.Received[hub.ClassCall].Messages, uint64(1)},
			{"stream bytes", edge.Received[hub.ClassStream].Bytes, uint64(1000)},
			{"stream bytes", cloud.Sent[hub.ClassStream].Bytes, uint64(1000)},
			{"round trips of 50 ms", edge.RoundTrip.Counts[3], uint64(10)},
			{"round trips as the cloud knows them", cloud.RoundTrip.Counts[3], uint64(9)},
		} {
			if fmt.Sprint(w.have) != fmt.Sprint(w.want) {
				t.Errorf("%s: %v, want %v", w.what, w.have, w.want)
			}
		}
		if got := cloud.Sent[hub.ClassState]; got.Messages < 3 || got.Bytes < 30 || got.Bytes > 200 {
			t.Errorf("the cloud sent %+v of state", got)
		}
		if got := edge.Sent[hub.ClassEvent]; got.Messages != 2 || got.Bytes < 10 {
			t.Errorf("the edge sent %+v of events", got)
		}
	})
}

// TestBatchesOnASlowLink: 1,000 manifests that wait for a slow link travel compressed,
// random bodies do not.
func TestBatchesOnASlowLink(t *testing.T) {
	for _, compressible := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n, dir, sink := memconn.New(memconn.Config{Delay: 100 * time.Millisecond, Window: 32 << 10}), &hubtest.Directory{}, &hubtest.Sink{}
			random := rand.New(rand.NewPCG(1, 1))
			total := 0
			for i := range 1000 {
				body := fmt.Sprintf(`{"kind":"Pod","metadata":{"name":"web-%d","labels":{"app.kubernetes.io/name":"web","topology.kubernetes.io/zone":"north"}}}`, i)
				if !compressible {
					b := make([]byte, len(body))
					for j := range b {
						b[j] = byte(random.Uint32())
					}
					body = string(b)
				}
				total += len(body)
				dir.Down("a").Put(hub.Key{Resource: "pods", Name: fmt.Sprint("web-", i)}, 1, body)
			}
			server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir})
			defer program(t, server.Run)()
			defer program(t, newClient(t, n, "a", func(cfg *hub.ClientConfig) { cfg.Down = sink }).Run)()
			if err := sink.Wait(t.Context(), func() bool { return sink.Len() == 1000 }); err != nil {
				t.Fatal(err)
			}
			got := server.Stats().Sent[hub.ClassState]
			if small := got.Bytes < uint64(total)/3; small != compressible || got.Messages < 1000 {
				t.Errorf("compressible %v: %d bytes of bodies went as %+v", compressible, total, got)
			}
		})
	}
}
