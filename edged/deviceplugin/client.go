package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/deviceapi"
	"github.com/edgekit/edgekit/edged/internal/pluginrpc"
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
	// The connection stays open without calls. A list of devices may exceed pluginrpc's limit.
	conn, err := pluginrpc.Dial(socket, grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(deviceapi.MaxMessage)))
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
	return pluginrpc.Call(ctx, c.conn, "/"+deviceapi.PluginService+"/"+method, request, opts...)
}

// watch takes over each list of devices that the plugin sends. It returns an error when
// that ends: io.EOF if the plugin ended it.
func (c *client) watch(ctx context.Context) error {
	err := pluginrpc.Stream(ctx, c.conn, "/"+deviceapi.PluginService+"/ListAndWatch", nil, func(answer protomsg.Message) error {
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
			return nil
		}
	})
	if err == nil {
		err = io.EOF
	}
	return err
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
