package pluginrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/edgekit/edgekit/edged/internal/protomsg"
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
func Call(ctx context.Context, conn *grpc.ClientConn, method string, req protomsg.Message, opts ...grpc.CallOption) (protomsg.Message, error) {
	var answer protomsg.Message
	err := conn.Invoke(ctx, method, req, &answer, append(opts, grpc.ForceCodec(protomsg.Codec{}))...)
	return answer, err
}

// Stream makes a call whose answer is a stream, and gives each message of it to read, until
// that returns an error, the stream ends or ctx does. It returns nil at a stream's end.
func Stream(ctx context.Context, conn *grpc.ClientConn, method string, req protomsg.Message, read func(protomsg.Message) error, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, append(opts, grpc.ForceCodec(protomsg.Codec{}))...)
	if err != nil {
		return err
	}
	if err := s.SendMsg(req); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		var answer protomsg.Message
		err := s.RecvMsg(&answer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := read(answer); err != nil {
			return err
		}
	}
}
