package socket

import (
	"context"
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

// ServerOptions are the options of a server of either end: limits of connections, streams and
// messages. Streams above the limit wait at the client, which is gRPC's flow control.
func ServerOptions(codec encoding.CodecV2, check func(Peer) error, streams uint32) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec), grpc.Creds(Credentials(check)), grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(streams), grpc.ConnectionTimeout(10 * time.Second), grpc.MaxHeaderListSize(16 << 10),
		grpc.ReadBufferSize(buffer), grpc.WriteBufferSize(buffer), grpc.WaitForHandlers(true),
	}
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
