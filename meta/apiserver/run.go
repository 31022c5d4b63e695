package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/meta"
)

// KubeconfigName is the file in Config.Dir with which kubectl uses the API as the
// administrator. It exists while there is a TCP listener. Whoever may read the folder
// can use it.
const KubeconfigName = kubeconfigFile

// Run listens and serves until ctx ends; it then ends all requests, waits for
// them, and returns nil. It returns an error when it cannot listen or the
// store fails. A second call returns meta.ErrStarted.
func (s *Server) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return meta.ErrStarted
	}
	var tcp net.Listener
	if s.cfg.Listen.IsValid() {
		var err error
		if tcp, err = s.listenTLS(); err != nil {
			return fmt.Errorf("meta/apiserver: %w", err)
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	if tcp != nil {
		group.Go(func() error { return s.serveOn(gctx, tcp, s.Handler()) })
	}
	if s.cfg.Socket != "" {
		group.Go(func() error {
			l, err := ListenSocket(gctx, s.cfg.Socket, s.cfg.Logger)
			if err != nil {
				return err
			}
			return s.serveOn(gctx, l, s.AdminHandler())
		})
	}
	group.Go(func() error { return s.policy.follow(gctx) })
	group.Go(func() error { return s.synced.follow(gctx, s.cfg.Store) })
	if s.cfg.FollowLink != nil {
		group.Go(func() error {
			s.cfg.FollowLink(gctx, s.link.changed)
			return nil
		})
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("meta/apiserver: %w", err)
	}
	return nil
}

// listenTLS makes the TCP listener, and the kubeconfig that leads to it.
func (s *Server) listenTLS() (net.Listener, error) {
	addr, inner := s.cfg.Listen, s.cfg.Listener
	cert, err := s.ca.server(append([]string{addr.Addr().String(), s.cfg.Node}, s.cfg.Names...)...)
	if err != nil {
		return nil, err
	}
	if inner == nil {
		if inner, err = net.Listen("tcp", addr.String()); err != nil {
			return nil, err
		}
	}
	if s.cfg.Dir != "" {
		err := s.writeKubeconfig(inner.Addr())
		if meta.TakesNothing(err) {
			s.cfg.Logger.Warn("the administrator's kubeconfig could not be written; that of an earlier run still works if the address is the same", "err", err)
		} else if err != nil {
			inner.Close()
			return nil, err
		}
	}
	return tls.NewListener(newLimitListener(inner, s.cfg.MaxConns, s.cfg.MaxPerAddress, s.cfg.Logger), &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"},
		ClientAuth: tls.RequestClientCert, // authenticate verifies it, by the node's clock
	}), nil
}

func (s *Server) writeKubeconfig(addr net.Addr) error {
	bound, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return err
	}
	text, err := s.ca.kubeconfig(bound.String(), s.cfg.Node)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.cfg.Dir, kubeconfigFile), text)
}

// serveOn serves one listener until ctx ends.
func (s *Server) serveOn(ctx context.Context, l net.Listener, handler http.Handler) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: handler, BaseContext: func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 15 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 128 << 10,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// Watches and streams end with base; the remaining requests get a moment to finish.
	wait, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if err := server.Shutdown(wait); err != nil {
		_ = server.Close() // a client that does not read is cut off
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
