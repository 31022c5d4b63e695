package hub_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// A link over a real transport: QUIC with mutual TLS on loopback. Here both
// certificates come from an authority made on the spot; package join hands them
// out to nodes that show a token.
func Example_quic() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cloud, edge, err := certificates("edge-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	var g errgroup.Group
	g.Go(func() error { return runCloud(ctx, socket, cloud) })
	g.Go(func() error {
		defer cancel()
		return runEdge(ctx, socket.LocalAddr().String(), edge)
	})
	if err := g.Wait(); err != nil {
		fmt.Println(err)
	}
	// Output: hello edge-1
}

// runCloud serves nodes until ctx ends.
func runCloud(ctx context.Context, socket net.PacketConn, cfg *tls.Config) error {
	listener, err := quicconn.Listen(quicconn.ListenerConfig{Socket: socket, TLS: cfg})
	if err != nil {
		return err
	}
	defer listener.Close()
	var mux hub.Mux
	mux.Handle("greetings", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) {
		return hub.Message{Body: []byte("hello " + r.Node)}, nil
	}))
	server, err := hub.NewServer(hub.ServerConfig{Listener: listener, Directory: &hubtest.Directory{}, Mux: &mux})
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

// runEdge connects, and asks the cloud once.
func runEdge(ctx context.Context, addr string, cfg *tls.Config) error {
	dialer, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: addr, TLS: cfg})
	if err != nil {
		return err
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: dialer, Node: "edge-1"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	defer g.Wait()
	defer cancel()
	g.Go(func() error { return client.Run(ctx) })
	select {
	case <-client.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	answer, err := client.Call(ctx, hub.Message{Key: hub.Key{Resource: "greetings"}})
	fmt.Println(string(answer.Body))
	return err
}

// certificates makes an authority and what both ends need of it.
func certificates(node string) (cloud, edge *tls.Config, err error) {
	now := time.Now()
	ca, err := join.NewCA("example", now)
	if err != nil {
		return nil, nil, err
	}
	server, err := ca.IssueServer(now, "127.0.0.1")
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := ca.IssueNode(key.Public(), node, now, time.Hour)
	if err != nil {
		return nil, nil, err
	}
	client := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
	cloud = &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS13}
	edge = &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13}
	return cloud, edge, nil
}
