// Command own-cloudcore is the cloud's side of edge nodes in a program of one's
// own: package controller over package hub, with joining and a WebSocket link.
//
// Try it against the development cluster, or any other:
//
//	make cluster-up
//	eval "$(cd cmd/cluster && go run . env)"    # sets KUBECONFIG
//	go run ./examples/own-cloudcore -host 127.0.0.1
//
// -host is an address of this machine that the node reaches. It prints the command by
// which a machine joins; then start edgecore there. -port is for a machine whose port
// 10000 is taken.
// Command cloudcore adds QUIC, kubectl logs and exec (controller.Config.Kubelet),
// metrics, revocation (join.Guard) and the rotation of authorities.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/wsconn"
)

func main() {
	host := flag.String("host", "127.0.0.1", "name or IP address by which nodes reach this program")
	port := flag.String("port", "10000", "TCP port for joining and for links")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *host, *port); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "own-cloudcore:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, host, port string) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	if err := install.Ensure(ctx, install.Config{REST: cfg}); err != nil { // namespace and CRDs
		return err
	}

	// Who is a node: authorities, tokens and names are Secrets in the cluster.
	ids, err := nodeidentity.New(nodeidentity.Config{Client: client})
	if err != nil {
		return err
	}
	authorities, err := ids.Authorities(ctx)
	if err != nil {
		return err
	}
	keyring, err := join.NewKeyring(join.KeyringConfig{Authorities: authorities, Hosts: []string{host}})
	if err != nil {
		return err
	}
	joins, err := join.NewHandler(join.HandlerConfig{Keyring: keyring, Tokens: ids, Names: ids, Ledger: ids, Revoked: ids})
	if err != nil {
		return err
	}

	// What a node holds, and the links that carry it.
	mode, err := controller.DetectImpersonation(ctx, cfg)
	if err != nil {
		return err
	}
	ctl, err := controller.New(controller.Config{REST: cfg, ID: "own-" + rand.Text(), Impersonation: mode, Logger: slog.Default()})
	if err != nil {
		return err
	}
	links, err := wsconn.NewListener(wsconn.ListenerConfig{})
	if err != nil {
		return err
	}
	defer links.Close()
	mux := &hub.Mux{}
	ctl.Handle(mux)
	server, err := hub.NewServer(hub.ServerConfig{Listener: links, Directory: ctl, Mux: mux, Logger: slog.Default()})
	if err != nil {
		return err
	}

	// One port for joining and for links.
	paths := http.NewServeMux()
	paths.Handle(wsconn.Path, links)
	paths.Handle("/", joins)
	front := &http.Server{Addr: ":" + port, Handler: paths, TLSConfig: keyring.ServerTLS(), ReadHeaderTimeout: 15 * time.Second,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}} // WebSocket needs HTTP/1.1
	token, err := ids.CreateToken(ctx, "edge-*", time.Hour)
	if err != nil {
		return err
	}
	fmt.Printf("edgecore join --cloud %s --node edge-1 --token %s\n", net.JoinHostPort(host, port), token)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ctl.Run(ctx, server) })
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error { return front.ListenAndServeTLS("", "") }) // the certificate is keyring's
	g.Go(func() error { <-ctx.Done(); return front.Close() })
	return g.Wait()
}
