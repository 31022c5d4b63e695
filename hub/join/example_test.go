package join_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

func Example() {
	// In the cloud: an authority, a place for tokens, a handler behind TLS.
	ca, _ := join.NewCA("example", time.Now())
	ring, _ := join.NewKeyring(join.KeyringConfig{
		Authorities: join.Authorities{Issuer: ca}, Hosts: []string{"127.0.0.1"},
	})
	store := &jointest.Store{} // a real cloud remembers
	handler, _ := join.NewHandler(join.HandlerConfig{Keyring: ring, Tokens: store, Names: store})
	srv := &http.Server{Handler: handler, TLSConfig: ring.ServerTLS()}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	done := make(chan error)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	defer func() { _ = srv.Close(); <-done }()

	// The operator makes a token and hands it over.
	token := join.NewToken(ring.Pin())
	store.Add(token.Record("edge-*", time.Now().Add(time.Hour)))

	// On the edge: join once ...
	cred, err := join.Join(context.Background(), join.Request{
		URL: "https://" + l.Addr().String(), Token: token.String(), Node: "edge-1",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cred.Node, cred.Leaf.Subject)

	// ... and from then on show the certificate, and keep it fresh.
	id, _ := join.NewIdentity(join.IdentityConfig{Credentials: cred, URL: "https://" + l.Addr().String()})
	link := id.TLS() // for wsconn.DialerConfig or quicconn.DialerConfig
	fmt.Println(link.MinVersion == tls.VersionTLS13, id.Renew(context.Background()))
	// Output:
	// edge-1 CN=system:node:edge-1,O=system:nodes
	// true <nil>
}
