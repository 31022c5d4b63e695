package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// KubeconfigName is the file in Config.Dir by which kubectl, run by whoever
// may read that folder, uses the API. It is there while there is a TCP
// listener.
const KubeconfigName = kubeconfigFile

// CA is the certificate, in PEM, by which clients know the server.
func (s *Server) CA() []byte { return s.ca.certPEM() }

// Run listens and serves until ctx ends; it then ends all requests, waits for
// them, and returns nil. It returns an error when it cannot listen or the
// store fails.
func (s *Server) Run(ctx context.Context) error {
	var listeners []func(context.Context) error
	serve := func(l net.Listener, h http.Handler) {
		listeners = append(listeners, func(ctx context.Context) error { return s.serveOn(ctx, l, h) })
	}
	var socket net.Listener
	var err error
	if s.cfg.Socket != "" {
		if socket, err = listenSocket(s.cfg.Socket); takesNothing(err) {
			listeners = append(listeners, s.serveSocketLater)
		} else if err != nil {
			return fmt.Errorf("apiserver: %w", err)
		} else {
			serve(socket, s.AdminHandler())
		}
	}
	if s.cfg.Listen.IsValid() {
		l, err := s.listenTLS()
		if err != nil {
			if socket != nil {
				socket.Close()
			}
			return fmt.Errorf("apiserver: %w", err)
		}
		serve(l, s.Handler())
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.policy.follow(gctx) })
	for _, run := range listeners {
		group.Go(func() error { return run(gctx) })
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	return nil
}

// takesNothing reports whether an error says that the disk cannot be written
// now, which may go away by itself.
func takesNothing(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC)
}

// socketRetry is how often the socket is tried on a disk that takes nothing.
const socketRetry = 5 * time.Second

// serveSocketLater serves the socket as soon as its disk takes one: until then a
// node whose disk is read-only runs without.
func (s *Server) serveSocketLater(ctx context.Context) error {
	s.cfg.Logger.Warn("the disk takes no socket; it is tried again", "socket", s.cfg.Socket, "every", socketRetry)
	for {
		select {
		case <-time.After(socketRetry):
		case <-ctx.Done():
			return nil
		}
		l, err := listenSocket(s.cfg.Socket)
		if err == nil {
			return s.serveOn(ctx, l, s.AdminHandler())
		}
		if !takesNothing(err) {
			return err
		}
	}
}

// listenSocket makes the Unix socket, in place of one that an earlier run
// left.
func listenSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// listenTLS makes the TCP listener, and the kubeconfig that leads to it.
func (s *Server) listenTLS() (net.Listener, error) {
	addr := s.cfg.Listen
	cert, err := s.ca.server(append([]string{addr.Addr().String(), s.cfg.Node}, s.cfg.Names...)...)
	if err != nil {
		return nil, err
	}
	inner, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	if s.cfg.Dir != "" {
		err := s.writeKubeconfig(inner.Addr())
		if takesNothing(err) {
			s.cfg.Logger.Warn("the administrator's kubeconfig was not written; one from an earlier run is as good if it has the same address", "err", err)
		} else if err != nil {
			inner.Close()
			return nil, err
		}
	}
	return tls.NewListener(inner, &tls.Config{
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
	// Watches and streams end with base; what is left gets a moment.
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
