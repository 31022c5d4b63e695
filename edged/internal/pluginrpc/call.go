package pluginrpc

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// idle is how long a connection is kept without a call.
const idle = time.Minute

// maxAnswer bounds an answer of a plugin, in bytes.
const maxAnswer = 1 << 20

// Dial gives a connection to a socket of this machine. It does no I/O. The caller closes
// the connection.
func Dial(socket string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///plugin", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}),
		grpc.WithAuthority("localhost"),
		grpc.WithIdleTimeout(idle),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("pluginrpc: %w", err)
	}
	return conn, nil
}

// Call makes one call of a service, as "/csi.v1.Node/NodeGetInfo". An error of the plugin
// is a status of gRPC.
func Call(ctx context.Context, conn *grpc.ClientConn, method string, req Message, opts ...grpc.CallOption) (Message, error) {
	var answer Message
	err := conn.Invoke(ctx, method, req, &answer, append(opts, grpc.ForceCodec(frames{}))...)
	return answer, err
}

// frames is grpc's codec for messages that are bytes already.
type frames struct{}

func (frames) Name() string { return "proto" }

func (frames) Marshal(v any) ([]byte, error) {
	m, ok := v.(Message)
	if !ok {
		return nil, fmt.Errorf("pluginrpc: %T is no message", v)
	}
	return m, nil
}

func (frames) Unmarshal(data []byte, v any) error {
	m, ok := v.(*Message)
	if !ok {
		return fmt.Errorf("pluginrpc: %T is no message", v)
	}
	*m = slices.Clone(data)
	return nil
}
