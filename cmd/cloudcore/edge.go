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
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/identity"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// edgeServer is the one port that edge nodes reach: join, renewal and link.
type edgeServer struct {
	listener net.Listener
	server   *http.Server
	links    hub.Listener // nodes' connections
}

func newEdgeServer(ctx context.Context, r *runCmd, client kubernetes.Interface, listener net.Listener, log *slog.Logger) (edgeServer, error) {
	links, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: listener.Addr()})
	if err != nil {
		return edgeServer{}, err
	}
	store, err := identity.New(identity.Config{Client: client, Namespace: r.Namespace})
	if err != nil {
		return edgeServer{}, err
	}
	ca, err := store.CA(ctx)
	if err != nil {
		return edgeServer{}, err
	}
	hosts, err := serverHosts(r.Advertise)
	if err != nil {
		return edgeServer{}, err
	}
	joins, err := join.NewHandler(join.HandlerConfig{CA: ca, Tokens: store, Names: store, Logger: log.With("component", "join")})
	if err != nil {
		return edgeServer{}, err
	}
	mux := http.NewServeMux()
	mux.Handle(wsconn.Path, links)
	mux.Handle(join.JoinPath, joins)
	mux.Handle(join.RenewPath, joins)
	cert := &serverCert{ca: ca, hosts: hosts}
	log.Info("certificate authority", "pin", ca.Pin(), "hosts", hosts)
	e := edgeServer{listener: listener, links: links, server: &http.Server{
		Handler: mux, TLSConfig: ca.ServerTLS(cert.current),
		// WebSocket needs HTTP/1.1: no h2 is offered.
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: 15 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	if r.QUIC {
		e.links, err = addQUIC(ctx, links, e.server.TLSConfig, store, log)
	}
	return e, err
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

// serverHosts lists the names and addresses that the certificate is for.
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

// serverCert is the server's certificate. It lives in memory only and is made
// anew when two thirds of its life are over.
type serverCert struct {
	ca    *join.CA
	hosts []string

	mu   sync.Mutex
	cert tls.Certificate
	next time.Time // when it is made anew
}

func (c *serverCert) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Before(c.next) {
		return &c.cert, nil
	}
	cert, err := c.ca.IssueServer(now, c.hosts...)
	if err != nil {
		return nil, err
	}
	c.cert, c.next = cert, now.Add(join.DefaultServerLife*2/3)
	return &c.cert, nil
}
