package hub_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestLifecycle walks every type of hub and the packages below it that has a Run or a
// Serve: it returns nil when its context is cancelled, and a second call, during the
// first or after it, returns hub.ErrStarted. TestMain checks that no goroutine is left.
// TestEveryRunHasALifecycleTest, at the root, finds a type that is missing here.
func TestLifecycle(t *testing.T) {
	types := map[string]func(t *testing.T) func(context.Context) error{
		"hub.Client": func(t *testing.T) func(context.Context) error {
			return newClient(t, memconn.New(memconn.Config{}), "a", nil).Run
		},
		"hub.Server": func(t *testing.T) func(context.Context) error {
			return newServer(t, hub.ServerConfig{Listener: memconn.New(memconn.Config{}), Directory: &hubtest.Directory{}}).Run
		},
		"hub.Client, by Serve": func(t *testing.T) func(context.Context) error {
			c := newClient(t, memconn.New(memconn.Config{}), "a", nil)
			return func(ctx context.Context) error { return c.Serve(ctx, hub.Endpoints{}) }
		},
		"hub.Server, by Serve": func(t *testing.T) func(context.Context) error {
			s := newServer(t, hub.ServerConfig{})
			return func(ctx context.Context) error {
				return s.Serve(ctx, memconn.New(memconn.Config{}), &hubtest.Directory{})
			}
		},
		"join.Identity": func(t *testing.T) func(context.Context) error { return newIdentity(t).Run },
	}
	for name, construct := range types {
		t.Run(name, func(t *testing.T) {
			run := construct(t)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 2)
			// Either of the two may be the first.
			for range 2 {
				go func() { ended <- run(ctx) }()
			}
			if err := <-ended; !errors.Is(err, hub.ErrStarted) {
				t.Errorf("a Run beside another returned %v", err)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("a cancelled Run returned %v", err)
			}
			if err := run(t.Context()); !errors.Is(err, hub.ErrStarted) {
				t.Errorf("a Run after another returned %v", err)
			}
			hubtest.RunEnds(t, 20*time.Millisecond, func() (func(context.Context) error, error) { return construct(t), nil })
		})
	}
}

// newIdentity makes the identity of a node whose cloud is out of reach.
func newIdentity(t *testing.T) *join.Identity {
	t.Helper()
	c := jointest.NewCloud(t)
	pair := c.ClientTLS("a").Certificates[0]
	id, err := join.NewIdentity(join.IdentityConfig{URL: "https://127.0.0.1:1", Credentials: join.Credentials{
		Node: "a", Key: pair.PrivateKey.(*ecdsa.PrivateKey), Leaf: pair.Leaf, Roots: []*x509.Certificate{c.CA.Certificate()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestConfigIsCopied alters a caller's slices after New: the Client and the Server keep
// what they were given.
func TestConfigIsCopied(t *testing.T) {
	n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
	capabilities := []string{"mine"}
	server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, Capabilities: capabilities})
	defer program(t, server.Run)()
	connected := make(chan hub.Info, 4)
	watchers := []func(hub.Info){func(i hub.Info) { connected <- i }}
	client := newClient(t, n, "a", func(cfg *hub.ClientConfig) { cfg.Connected, cfg.Capabilities = watchers, capabilities })
	watchers[0] = nil
	capabilities[0] = strings.Repeat("x", 1<<20) // would not fit a hello
	defer program(t, client.Run)()
	select {
	case <-connected:
	case <-time.After(time.Minute):
		t.Error("no session")
	}
}

// TestServe makes a Client and a Server before what they serve, which uses them: the
// cloud's directory calls the node, and the node's handler calls the cloud.
func TestServe(t *testing.T) {
	n := memconn.New(memconn.Config{})
	server := newServer(t, hub.ServerConfig{})
	client := newClient(t, n, "a", nil)
	answers := make(chan string, 1)
	edgeMux, down := &hub.Mux{}, &hubtest.Sink{}
	edgeMux.Handle("name", hub.HandlerFunc(func(context.Context, hub.Request) (hub.Message, error) {
		return hub.Message{Body: []byte(client.Info().Node)}, nil
	}))
	source := &hubtest.Source{}
	source.Put(hub.Key{Resource: "settings", Name: "unit"}, 1, "m")
	var calls sync.WaitGroup
	directory := hub.DirectoryFunc(func(context.Context, hub.Hello) (hub.Node, error) {
		return hub.Node{Down: source, Connected: func(i hub.Info) {
			if i.Connected {
				calls.Go(func() {
					m, err := server.Call(t.Context(), i.Node, hub.Message{Key: hub.Key{Resource: "name"}})
					answers <- string(m.Body)
					if err != nil {
						t.Error(err)
					}
				})
			}
		}}, nil
	})
	defer calls.Wait()
	defer program(t, func(ctx context.Context) error { return server.Serve(ctx, n, directory) })()
	defer program(t, func(ctx context.Context) error { return client.Serve(ctx, hub.Endpoints{Down: down, Mux: edgeMux}) })()
	if got := <-answers; got != "a" {
		t.Errorf("the node answered %q", got)
	}
	if err := down.Wait(t.Context(), func() bool { return down.Len() == 1 }); err != nil {
		t.Error(err)
	}
}

// TestServeIgnoresNothing gives endpoints to the constructor and to Serve: Serve returns an
// error that says what to do, and Run still serves those of the constructor.
func TestServeIgnoresNothing(t *testing.T) {
	n := memconn.New(memconn.Config{})
	for name, set := range map[string]func(*hub.ClientConfig){
		"Down": func(c *hub.ClientConfig) { c.Down = &hubtest.Sink{} }, "Up": func(c *hub.ClientConfig) { c.Up = &hubtest.Source{} },
		"Inbox": func(c *hub.ClientConfig) { c.Inbox = &hubtest.Inbox{} }, "Outbox": func(c *hub.ClientConfig) { c.Outbox = &hubtest.Outbox{} },
		"Mux":       func(c *hub.ClientConfig) { c.Mux = &hub.Mux{} },
		"Connected": func(c *hub.ClientConfig) { c.Connected = []func(hub.Info){func(hub.Info) {}} },
	} {
		err := newClient(t, n, "a", set).Serve(t.Context(), hub.Endpoints{})
		if err == nil || !strings.Contains(err.Error(), "call Run, or give all of them to Serve") {
			t.Errorf("%s: %v", name, err)
		}
	}
	server := newServer(t, hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}})
	if err := server.Serve(t.Context(), n, &hubtest.Directory{}); err == nil || !strings.Contains(err.Error(), "call Run, or give both to Serve") {
		t.Error(err)
	}
	program(t, server.Run)()
}

// TestServeNeedsBoth has a Server without a Listener or a Directory: the error says what
// to do.
func TestServeNeedsBoth(t *testing.T) {
	n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
	for _, cfg := range []hub.ServerConfig{{Listener: n}, {Directory: dir}} {
		if _, err := hub.NewServer(cfg); err == nil || !strings.Contains(err.Error(), "give both to Serve") {
			t.Errorf("half a server: %v", err)
		}
	}
	if err := newServer(t, hub.ServerConfig{}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "set both in ServerConfig") {
		t.Errorf("a server of nothing: %v", err)
	}
}
