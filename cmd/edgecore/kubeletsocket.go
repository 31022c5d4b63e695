package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/edgekit/edgekit/meta/apiserver"
)

// kubeletSocket is the kubelet API's socket in the folder api.
const kubeletSocket = "kubelet.sock"

// serveSocket serves a handler on a Unix socket that only root may open, until
// ctx ends.
func serveSocket(ctx context.Context, path string, handler http.Handler, log *slog.Logger) error {
	l, err := apiserver.ListenSocket(ctx, path, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
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
