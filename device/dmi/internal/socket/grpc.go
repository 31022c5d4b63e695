package socket

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/encoding"
)

// MaxMessage is the largest message that either end accepts, in bytes: a device with its
// values has at most one MiB.
const MaxMessage = 4 << 20

// buffer is the size of the read and write buffers of a connection: DMI's messages are small.
const buffer = 8 << 10

// maxStreams is how many calls of one connection a server has in work at once.
const maxStreams = 64

// NewServer makes the gRPC server of either end, with limits of connections, streams and
// messages. Streams above the limit wait at the client, which is gRPC's flow control.
func NewServer(codec encoding.CodecV2, more ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(codec), grpc.Creds(Credentials(nil)), grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(10 * time.Second), grpc.MaxHeaderListSize(16 << 10),
		grpc.ReadBufferSize(buffer), grpc.WriteBufferSize(buffer), grpc.WaitForHandlers(true),
	}, more...)...)
}

// Serve serves l until ctx ends, and then returns nil when all calls have ended.
func Serve(ctx context.Context, server *grpc.Server, l net.Listener) error {
	stopped := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		defer close(stopped)
		server.Stop()
	})
	err := server.Serve(l)
	if end() { // it failed by itself
		server.Stop()
		return fmt.Errorf("socket: %w", err)
	}
	<-stopped
	return nil
}

// Dial makes a connection that stays: it connects again by itself when the other end comes
// back. It does no I/O.
func Dial(path string, codec encoding.CodecV2, check func(Peer) error) (*grpc.ClientConn, error) {
	// The target is no URL of path: a path may have characters that have no form there.
	return grpc.NewClient("passthrough:///dmi",
		grpc.WithTransportCredentials(Credentials(check)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}),
		grpc.WithAuthority("localhost"), grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithReadBufferSize(buffer), grpc.WithWriteBufferSize(buffer),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec), grpc.MaxCallRecvMsgSize(64<<20)),
	)
}
