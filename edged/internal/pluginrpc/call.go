package pluginrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// Stream makes a call whose answer is a stream, and gives each message of it to read, until
// that returns an error, the stream ends or ctx does. It returns nil at a stream's end.
func Stream(ctx context.Context, conn *grpc.ClientConn, method string, req Message, read func(Message) error, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, append(opts, grpc.ForceCodec(frames{}))...)
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
		var answer Message
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
