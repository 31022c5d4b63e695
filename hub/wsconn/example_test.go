package wsconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// A cloud and an edge over WebSocket on loopback: the edge is known by its
// certificate alone.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup

	// Who they are. A real edge gets its certificate by join.Join.
	ca, err := join.NewCA("example", time.Now())
	check(err)
	keyring, err := join.NewKeyring(join.KeyringConfig{Authorities: join.Authorities{Issuer: ca}, Hosts: []string{"127.0.0.1"}})
	check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	cert, err := ca.IssueNode(key.Public(), "edge-1", time.Now(), time.Hour)
	check(err)

	// The cloud: the link is one handler of an HTTPS server, beside others.
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	link, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: socket.Addr()})
	check(err)
	mux := http.NewServeMux()
	mux.Handle(wsconn.Path, link)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 15 * time.Second}
	wg.Go(func() { _ = web.Serve(tls.NewListener(link.Throttle(socket), keyring.ServerTLS())) })
	directory := &hubtest.Directory{}
	directory.Down("edge-1").Put(hub.Key{Resource: "recipes", Name: "bread"}, 1, "flour, water, salt")
	server, err := hub.NewServer(hub.ServerConfig{Listener: link, Directory: directory})
	check(err)
	wg.Go(func() { check(server.Run(ctx)) })

	// The edge.
	dialer, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + link.Addr().String(), TLS: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(),
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
	}})
	check(err)
	kept := &hubtest.Sink{}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: dialer, Node: "edge-1", Down: kept})
	check(err)
	wg.Go(func() { check(client.Run(ctx)) })

	check(kept.Wait(ctx, func() bool { return kept.Len() == 1 }))
	fmt.Printf("over %s: %s\n", client.Info().Transport, kept.Log()[0].Body)
	cancel()
	check(web.Close())
	wg.Wait()
	check(link.Close())
	// Output: over websocket: flour, water, salt
}

func check(err error) {
	if err != nil {
		panic(err) // an example has no better place for it
	}
}
