package quicconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// A cloud and an edge over QUIC on loopback: the edge is known by its
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

	// The cloud. A real one keeps ResetKey and TokenKey over restarts and
	// shares them with its replicas.
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err)
	link, err := quicconn.Listen(quicconn.ListenerConfig{
		Socket: socket, TLS: keyring.ServerTLS(), ResetKey: &quicconn.Key{1}, TokenKey: &quicconn.Key{2},
	})
	check(err)
	directory := &hubtest.Directory{}
	directory.Down("edge-1").Put(hub.Key{Resource: "recipes", Name: "bread"}, 1, "flour, water, salt")
	server, err := hub.NewServer(hub.ServerConfig{Listener: link, Directory: directory})
	check(err)
	wg.Go(func() { check(server.Run(ctx)) })

	// The edge.
	dialer, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: link.Addr().String(), TLS: &tls.Config{
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
	wg.Wait()
	check(link.Close())
	// Output: over quic: flour, water, salt
}

func check(err error) {
	if err != nil {
		panic(err) // an example has no better place for it
	}
}
