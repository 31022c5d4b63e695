package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/memstate"
	"github.com/edgekit/edgekit/hub/quicconn"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// cloud is the program that nodes connect to.
type cloud struct {
	listen, dir string
	out         io.Writer
	log         *slog.Logger
}

func (c *cloud) run(ctx context.Context) error {
	if c.dir == "" {
		return errors.New("-dir is required: it keeps the authority")
	}
	tcp, err := net.Listen("tcp", c.listen)
	if err != nil {
		return err
	}
	defer tcp.Close()
	host, _, err := net.SplitHostPort(tcp.Addr().String())
	if err != nil {
		return err
	}

	// Identity: an authority, a certificate for this server, a handler where nodes join.
	ca, err := loadCA(c.dir)
	if err != nil {
		return err
	}
	keyring, err := join.NewKeyring(join.KeyringConfig{Authorities: join.Authorities{Issuer: ca}, Hosts: []string{host}})
	if err != nil {
		return err
	}
	store := newStore()
	joins, err := join.NewHandler(join.HandlerConfig{Keyring: keyring, Tokens: store, Names: store, Logger: c.log})
	if err != nil {
		return err
	}

	// Two transports on one port: WebSocket beside the join handler, and QUIC.
	ws, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: tcp.Addr()})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(wsconn.Path, ws)
	for _, path := range []string{join.JoinPath, join.RenewPath, join.TrustPath} {
		mux.Handle(path, joins)
	}
	web := &http.Server{
		Handler: mux, ReadHeaderTimeout: 15 * time.Second,
		// WebSocket needs HTTP/1.1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		return err
	}
	defer udp.Close()
	quic, err := quicconn.Listen(quicconn.ListenerConfig{Socket: udp, TLS: keyring.ServerTLS()})
	if err != nil {
		return err
	}
	defer quic.Close()
	links, err := hub.Listeners(ws, quic)
	if err != nil {
		return err
	}

	server, err := c.server(links)
	if err != nil {
		return err
	}
	token := join.NewToken(keyring.Pin())
	store.add(token.Record("edge-*", time.Now().Add(time.Hour)))
	fmt.Fprintf(c.out, "a node joins within the hour, under a name like edge-1, by:\n"+
		"two-programs edge -cloud %s -node edge-1 -dir edge-1 -token %s\n", tcp.Addr(), token)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error {
		err := web.Serve(tls.NewListener(ws.Throttle(tcp), keyring.ServerTLS()))
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		<-ctx.Done()
		return errors.Join(links.Close(), web.Close())
	})
	return g.Wait()
}

// server decides about nodes, and what is exchanged with them.
func (c *cloud) server(links hub.Listener) (*hub.Server, error) {
	settings, err := memstate.NewSource(memstate.Limits{})
	if err != nil {
		return nil, err
	}
	if err := settings.Put(hub.Key{Resource: "settings", Name: "unit"}, []byte("°C")); err != nil {
		return nil, err
	}
	// Calls of nodes. req.Node is proven by the node's certificate.
	calls := &hub.Mux{}
	calls.Handle("greetings", hub.HandlerFunc(func(_ context.Context, req hub.Request) (hub.Message, error) {
		return hub.Message{Body: []byte("hello " + req.Node)}, nil
	}))
	// Every node gets the settings. Its reports are printed.
	nodes := hub.DirectoryFunc(func(_ context.Context, hello hub.Hello) (hub.Node, error) {
		reports, err := memstate.NewSink(memstate.Limits{}, func(objects []hub.Object) {
			for _, o := range objects {
				fmt.Fprintf(c.out, "%s reports %s: %s\n", hello.Node, o.Key.Name, o.Body)
			}
		})
		return hub.Node{Down: settings, Up: reports}, err
	})
	return hub.NewServer(hub.ServerConfig{Listener: links, Directory: nodes, Mux: calls, Logger: c.log})
}

// loadCA reads the authority, or makes it at the first start.
func loadCA(dir string) (*join.CA, error) {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	cert, err := os.ReadFile(certFile)
	if err == nil {
		key, err := os.ReadFile(keyFile)
		if err != nil {
			return nil, err
		}
		return join.LoadCA(cert, key)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ca, err := join.NewCA("two-programs", time.Now())
	if err != nil {
		return nil, err
	}
	key, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	// The certificate comes last: where it is, the key is.
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(keyFile, key, 0o600)); err != nil {
		return nil, err
	}
	return ca, os.WriteFile(certFile, ca.CertificatePEM(), 0o600)
}
