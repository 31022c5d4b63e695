package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// kubeletSocket is the kubelet API's socket in the folder api.
const kubeletSocket = "kubelet.sock"

// serveSocket serves a handler on a Unix socket that only root may open, until
// ctx ends. A disk that takes no socket is no reason to end the agent: it is
// tried again.
func serveSocket(ctx context.Context, path string, handler http.Handler, log *slog.Logger) error {
	l, err := listenSocket(path)
	for ; errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC); l, err = listenSocket(path) {
		log.Warn("the disk takes no socket; it is tried again", "socket", path, "every", socketRetry)
		select {
		case <-time.After(socketRetry):
		case <-ctx.Done():
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	s := &http.Server{
		Handler: handler, ReadHeaderTimeout: 15 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("socket: %w", err)
	}
	return nil
}

const socketRetry = 5 * time.Second

func listenSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier run
		return nil, err
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
