package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// edgeServer is the one port that edge nodes reach: join, renewal and link.
type edgeServer struct {
	listener net.Listener
	server   *http.Server
	links    hub.Listener // nodes' connections
}

func newEdgeServer(ctx context.Context, r *runCmd, trust *trust, listener net.Listener, log *slog.Logger) (edgeServer, error) {
	links, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: listener.Addr(), Proxies: r.ProxyProtocolFrom})
	if err != nil {
		return edgeServer{}, err
	}
	mux := http.NewServeMux()
	mux.Handle(wsconn.Path, links)
	trust.handle(mux)
	e := edgeServer{listener: links.Throttle(listener), links: links, server: newEdgeHTTP(mux, trust.tls(), log)}
	if r.QUIC {
		e.links, err = addQUIC(ctx, links, e.server.TLSConfig, r.Keepalive, trust.store, log)
	}
	return e, err
}

// newEdgeHTTP makes the server that anybody can reach. Clients that are not
// authenticated get short timeouts and small buffers.
func newEdgeHTTP(handler http.Handler, cfg *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, TLSConfig: cfg,
		// WebSocket needs HTTP/1.1: no h2 is offered.
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: 15 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func (e edgeServer) run(ctx context.Context) error {
	return serve(ctx, e.server, tls.NewListener(e.listener, e.server.TLSConfig))
}

// serve runs an HTTP server until ctx ends.
func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	err := s.Close()
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		return served
	}
	return err
}

// serverHosts lists the names and addresses for the server's certificate.
func serverHosts(advertise []string) ([]string, error) {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	for _, a := range advertise {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			host = a
		}
		hosts = append(hosts, host)
	}
	if len(advertise) > 0 {
		return hosts, nil
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w: give --advertise", err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, ip.IP.String())
		}
	}
	return hosts, nil
}
