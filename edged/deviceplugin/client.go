package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/deviceapi"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// connectTimeout is how long a plugin that registers has to answer: as in a kubelet.
const connectTimeout = 10 * time.Second

// listInterval is how long a plugin waits at least between two lists of devices.
const listInterval = 50 * time.Millisecond

// client is a connection to a plugin.
type client struct {
	resource, socket string
	conn             *grpc.ClientConn
	options          devices.Options
	endpoint         *devices.Endpoint
	cancel           context.CancelFunc
	done             chan struct{} // closed when nothing of it runs any more
	closeOnce        sync.Once
	log              *slog.Logger
	ignored          int // devices of the last list that were left out
}

var _ devices.Plugin = (*client)(nil)

// newClient connects to a plugin and asks for its options.
func newClient(ctx context.Context, resource, socket string, log *slog.Logger) (*client, error) {
	// The target is no URL of the path: a path may have characters that have no form there.
	conn, err := grpc.NewClient("passthrough:///device-plugin",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}),
		grpc.WithAuthority("localhost"), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(protomsg.Codec{}), grpc.MaxCallRecvMsgSize(deviceapi.MaxMessage)),
	)
	if err != nil {
		return nil, err
	}
	c := &client{resource: resource, socket: socket, conn: conn, log: log, done: make(chan struct{})}
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	answer, err := c.call(bounded, "GetDevicePluginOptions", nil, grpc.WaitForReady(true))
	if err == nil {
		c.options, err = deviceapi.ReadOptions(answer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("failed to get device plugin options: %w", err), conn.Close())
	}
	return c, nil
}

// close ends the connection, and with it the calls that are under way. The devices are
// no longer there.
func (c *client) close() {
	c.closeOnce.Do(func() {
		if c.endpoint != nil {
			c.endpoint.Close()
		}
		c.conn.Close()
	})
}

// call makes one call to the plugin.
func (c *client) call(ctx context.Context, method string, request protomsg.Message, opts ...grpc.CallOption) (protomsg.Message, error) {
	var answer protomsg.Message
	err := c.conn.Invoke(ctx, "/"+deviceapi.PluginService+"/"+method, request, &answer, opts...)
	return answer, err
}

// watch takes over each list of devices that the plugin sends, until that ends.
func (c *client) watch(ctx context.Context) error {
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+deviceapi.PluginService+"/ListAndWatch")
	if err != nil {
		return err
	}
	if err := stream.SendMsg(protomsg.Message(nil)); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var answer protomsg.Message
		if err := stream.RecvMsg(&answer); err != nil {
			return err
		}
		list, bad, err := deviceapi.ReadDevices(answer)
		if err == nil {
			err = c.endpoint.SetDevices(list)
		}
		if bad != c.ignored {
			c.ignored = bad
			c.log.Warn("devices of a plugin are left out: their ID is empty or too long", "resource", c.resource, "devices", bad)
		}
		if err != nil {
			return err
		}
		// A plugin that sends lists without end waits: gRPC holds it back.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(listInterval):
		}
	}
}

// Preferred implements devices.Plugin.
func (c *client) Preferred(ctx context.Context, available, must []string, size int) ([]string, error) {
	request := deviceapi.In(deviceapi.Preference{Available: available, Must: must, Size: int64(size)}.Encode())
	answer, err := c.call(ctx, "GetPreferredAllocation", request)
	if err != nil {
		return nil, err
	}
	one, err := deviceapi.First(answer)
	if errors.Is(err, deviceapi.ErrNoAnswer) {
		return nil, nil // it prefers none
	}
	if err != nil {
		return nil, err
	}
	return deviceapi.ReadIDs(one)
}

// Allocate implements devices.Plugin.
func (c *client) Allocate(ctx context.Context, ids []string) (devices.Edits, error) {
	answer, err := c.call(ctx, "Allocate", deviceapi.In(deviceapi.EncodeIDs(ids)))
	if err != nil {
		return devices.Edits{}, err
	}
	one, err := deviceapi.First(answer)
	if err != nil {
		return devices.Edits{}, err
	}
	return deviceapi.ReadEdits(one)
}

// PreStart implements devices.Plugin.
func (c *client) PreStart(ctx context.Context, ids []string) error {
	_, err := c.call(ctx, "PreStartContainer", deviceapi.EncodeIDs(ids))
	return err
}
