package dmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device/dmi/internal/socket"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/meta"
)

// maxConnections is how many connections mappers may have open at once.
const maxConnections = 256

// socketRetry is the pause between attempts to make the socket while the disk is full or
// read-only.
const socketRetry = 5 * time.Second

// serve serves the socket until ctx ends.
func (m *Manager) serve(ctx context.Context) error {
	l, err := m.listen(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("socket: %w", err)
	}
	server := socket.NewServer(m.codec, grpc.UnaryInterceptor(m.guard))
	v1beta1.RegisterDeviceManager(server, service{m})
	close(m.ready)
	m.log.Info("mappers can connect", "socket", m.cfg.Socket, "group", m.cfg.Group)
	return socket.Serve(ctx, server, socket.Limit(l, maxConnections))
}

// listen makes the socket. A full or read-only disk may pass.
func (m *Manager) listen(ctx context.Context) (net.Listener, error) {
	for first := true; ; first = false {
		l, err := socket.Listen(m.cfg.Socket, m.cfg.Group)
		if !meta.TakesNothing(err) {
			return l, err
		}
		if first {
			m.log.Warn("the socket for mappers cannot be made on this disk; trying again", "socket", m.cfg.Socket, "every", socketRetry, "err", err)
		}
		select {
		case <-time.After(socketRetry):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// guard has a panic in a call end that call alone.
func (m *Manager) guard(ctx context.Context, request any, call *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			m.log.Error("call of a mapper panics", "method", call.FullMethod, "panic", p, "stack", string(debug.Stack()))
			answer, err = nil, status.Error(codes.Internal, "edgecore has a fault; its log says more")
		}
	}()
	return handle(ctx, request)
}
