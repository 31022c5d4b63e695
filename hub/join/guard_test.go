package join_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// linked is a cloud with the real link, a Guard in front of its directory, on a
// listener of its own.
type linked struct {
	*cloud
	guard  *join.Guard
	server *hub.Server
}

func newLinked(t *testing.T, ready <-chan struct{}) *linked {
	t.Helper()
	l := &linked{cloud: newCloud(t)}
	link, err := wsconn.NewListener(wsconn.ListenerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	l.guard, err = join.NewGuard(join.GuardConfig{
		Directory: &hubtest.Directory{}, Ready: ready,
		Disconnect: func(node string, reason *hub.Error) error { return l.server.Disconnect(node, reason) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.server, err = hub.NewServer(hub.ServerConfig{Listener: link, Directory: l.guard}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", l.Handler())
	mux.Handle(wsconn.Path, link)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.url = "https://" + socket.Addr().String()
	srv := &http.Server{Handler: mux, TLSConfig: l.ServerTLS(), ErrorLog: log.New(io.Discard, "", 0)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.ServeTLS(socket, "", "") })
	wg.Go(func() { _ = l.server.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		srv.Close()
		wg.Wait()
		link.Close()
	})
	return l
}

// connect runs a node's client. The channels tell when its session stands, and
// how the client ended.
func (l *linked) connect(t *testing.T, id *join.Identity) (up <-chan hub.Info, ended <-chan error) {
	t.Helper()
	dialer, err := wsconn.NewDialer(wsconn.DialerConfig{URL: l.url, TLS: id.TLS()})
	if err != nil {
		t.Fatal(err)
	}
	infos, errs := make(chan hub.Info, 16), make(chan error, 1)
	client, err := hub.NewClient(hub.ClientConfig{
		Dialer: dialer, Node: id.Credentials().Node, Connected: []func(hub.Info){func(i hub.Info) { infos <- i }},
		Backoff: hub.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		errs <- client.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return infos, errs
}

// TestRevoke: a revoked key loses its session at once, and can neither link, renew nor
// join; the machine comes back with a new join, and another revocation of the old key
// does not affect it.
func TestRevoke(t *testing.T) {
	l := newLinked(t, nil)
	id := identity(t, l.cloud, l.joined(t, "edge-1"))
	other := identity(t, l.cloud, l.joined(t, "edge-2"))
	key := join.KeyHash(id.Credentials().Leaf)
	up, ended := l.connect(t, id)
	otherUp, otherEnded := l.connect(t, other)
	if i := <-up; !i.Connected {
		t.Fatal(i)
	}
	<-otherUp

	l.Revoke("edge-1", key) // what edgectl writes
	l.guard.Revoke(key)     // what every cloudcore sees of it
	if i := <-up; i.Connected {
		t.Fatal("the session stands", i)
	} else {
		t.Log(i.Reason)
	}
	refused, ok := errors.AsType[*hub.RefusedError](<-ended)
	if !ok || refused.Err.Code != hub.CodeForbidden || refused.Err.Text != join.ErrRevoked.Error() {
		t.Fatalf("the node was told %v", refused)
	}
	t.Log(refused)
	if err := id.Renew(t.Context()); !errors.Is(err, join.ErrRevoked) {
		t.Error("renewal:", err)
	}
	if _, err := join.JoinWithKey(t.Context(), request(l.cloud, l.Token("edge-1"), "edge-1"), id.Credentials().Key); !errors.Is(err, join.ErrRevoked) {
		t.Error("join with the revoked key:", err)
	}
	if s := l.guard.Stats(); s.Revoked != 1 || s.Ended != 1 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}

	again := identity(t, l.cloud, l.joined(t, "edge-1"))
	up, ended = l.connect(t, again)
	if i := <-up; !i.Connected {
		t.Fatal(i)
	}
	l.guard.Revoke(key) // a watch that starts again reports all keys again
	select {
	case i := <-up:
		t.Error("the new session suffered for the old key:", i)
	case err := <-ended:
		t.Error(err)
	case err := <-otherEnded:
		t.Error("another node suffered:", err)
	default:
	}
	// A node knows of its session a moment before the server lists it.
	hubtest.Until(t, "the server lists both nodes", func() bool { return len(l.server.Nodes()) == 2 })
	// After Restore the key connects again.
	l.guard.Restore(key)
	up, _ = l.connect(t, id)
	if i := <-up; !i.Connected {
		t.Error(i)
	}
}

// TestGuardAttach covers the moments between a connection and its session.
func TestGuardAttach(t *testing.T) {
	c := newCloud(t)
	ready := make(chan struct{})
	var disconnected []string
	g, err := join.NewGuard(join.GuardConfig{
		Directory: &hubtest.Directory{}, Ready: ready,
		Disconnect: func(node string, _ *hub.Error) error {
			disconnected = append(disconnected, node)
			return hub.ErrOffline
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf := c.joined(t, "edge-1").Leaf
	hello := hub.Hello{Node: "edge-1", Peer: hub.Peer{Name: "edge-1", Certificate: leaf}}
	if _, err := g.Attach(t.Context(), hello); !errors.Is(err, &hub.Error{Code: hub.CodeUnavailable}) {
		t.Error("before the revoked keys are known:", err)
	}
	close(ready)
	node, err := g.Attach(t.Context(), hello)
	if err != nil {
		t.Fatal(err)
	}
	g.Revoke(join.KeyHash(leaf)) // after Attach, before the session stands
	if len(disconnected) != 0 {
		t.Error("there is no session to end as yet")
	}
	node.Connected(hub.Info{Node: "edge-1", Connected: true})
	if len(disconnected) != 1 || disconnected[0] != "edge-1" {
		t.Error("the session slipped through:", disconnected)
	}
	node.Connected(hub.Info{Node: "edge-1"})
	g.Revoke(join.KeyHash(leaf))
	if len(disconnected) != 1 {
		t.Error("a session that is over was ended:", disconnected)
	}
	if _, err := g.Attach(t.Context(), hello); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
		t.Error(err)
	}
	if _, err := g.Attach(t.Context(), hub.Hello{Node: "mem"}); err != nil {
		t.Error("a transport without certificates:", err)
	}
	for _, cfg := range []join.GuardConfig{{}, {Directory: &hubtest.Directory{}}} {
		if _, err := join.NewGuard(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
