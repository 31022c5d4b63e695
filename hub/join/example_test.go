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
	store := &jointest.Store{}
	handler, _ := join.NewHandler(join.HandlerConfig{CA: ca, Tokens: store, Names: store})
	cert, _ := ca.IssueServer(time.Now(), "127.0.0.1")
	srv := &http.Server{
		Handler:   handler,
		TLSConfig: ca.ServerTLS(func() (*tls.Certificate, error) { return &cert, nil }),
	}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	done := make(chan error)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	defer func() { _ = srv.Close(); <-done }()

	// The operator makes a token and hands it over.
	token := join.NewToken(ca.Pin())
	store.Add(token.Record("edge-*", time.Now().Add(time.Hour)))

	// On the edge.
	cred, err := join.Join(context.Background(), join.Request{
		URL: "https://" + l.Addr().String(), Token: token.String(), Node: "edge-1",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cred.Node, cred.Leaf.Subject)
	// Output: edge-1 CN=system:node:edge-1,O=system:nodes
}
