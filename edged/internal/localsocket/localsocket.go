// Package localsocket serves gRPC on a unix socket of the node that only its owner may
// open, as a kubelet serves its own.
//
//	l, err := localsocket.Listen("/var/lib/kubelet/pod-resources/kubelet.sock")
//	err = localsocket.Serve(ctx, localsocket.NewServer(), l)
package localsocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// Limits of a server. What comes in is small: a request for a call.
const (
	maxRequest     = 64 << 10 // bytes
	maxConnections = 64
	maxStreams     = 16 // calls of one connection at once
	buffer         = 8 << 10
)

// retryInterval is the pause before a socket that cannot be served is tried again.
const retryInterval = 10 * time.Second

// ErrInUse is the error for a socket that another program serves.
var ErrInUse = errors.New("another program serves the socket, such as a kubelet or another edgecore")

// dialTimeout bounds how long another program has to take a connection.
const dialTimeout = 5 * time.Second

// CheckFree says why a socket cannot be made at a path: a program serves one there. A
// socket that nobody serves is no error.
func CheckFree(path string) error {
	c, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		if te := net.Error(nil); errors.As(err, &te) && te.Timeout() {
			return fmt.Errorf("%s: %w", path, ErrInUse)
		}
		return nil // nobody listens; Listen reports anything else that is wrong
	}
	c.Close()
	return fmt.Errorf("%s: %w", path, ErrInUse)
}

// Listen makes a socket, and its folder, with rights of the owner alone. It replaces a
// socket that nobody serves. The error for one that is served matches ErrInUse.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if err := CheckFree(path); err != nil {
		return nil, err
	}
	switch info, err := os.Lstat(path); {
	case err == nil && info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is there and no socket: remove it", path)
	case err == nil:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// NewServer makes a server whose messages are protomsg.Message.
func NewServer(more ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodec(protomsg.Codec{}), grpc.MaxRecvMsgSize(maxRequest), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10 * time.Second), grpc.MaxHeaderListSize(16 << 10), grpc.ReadBufferSize(buffer), grpc.WriteBufferSize(buffer), grpc.WaitForHandlers(true),
	}, more...)...)
}

// Serve serves until ctx ends, and then returns nil when all calls have ended. Of more
// connections than 64 at once the later ones are closed.
func Serve(ctx context.Context, server *grpc.Server, l net.Listener) error {
	stopped := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		defer close(stopped)
		server.Stop()
	})
	err := server.Serve(&limited{Listener: l})
	if end() { // it failed by itself
		server.Stop()
		return fmt.Errorf("socket: %w", err)
	}
	<-stopped
	return nil
}

// Retry calls serve until ctx ends, with a pause after each error. warn gets each error that
// differs from the one before.
func Retry(ctx context.Context, serve func(context.Context) error, warn func(error)) {
	for last := ""; ; {
		err := serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if text := fmt.Sprint(err); text != last {
			warn(err)
			last = text
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryInterval):
		}
	}
}

// Handler answers one method: the request is a message, and so is the answer.
type Handler func(ctx context.Context, request protomsg.Message) (protomsg.Message, error)

// Service describes a service by its methods.
func Service(name string, methods map[string]Handler) *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil)}
	for method, handle := range methods {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: method,
			Handler: func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				var in protomsg.Message
				if err := decode(&in); err != nil {
					return nil, err
				}
				call := func(ctx context.Context, in any) (any, error) { return handle(ctx, *in.(*protomsg.Message)) }
				if intercept == nil {
					return call(ctx, &in)
				}
				return intercept(ctx, &in, &grpc.UnaryServerInfo{FullMethod: "/" + name + "/" + method}, call)
			},
		})
	}
	return desc
}

// limited closes connections beyond maxConnections.
type limited struct {
	net.Listener
	open atomic.Int64
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxConnections {
			return &counted{Conn: c, open: &l.open}, nil
		}
		l.open.Add(-1)
		c.Close()
	}
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *counted) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}
