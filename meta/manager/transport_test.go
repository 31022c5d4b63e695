package manager_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta/manager"
)

// openerFunc opens streams by a function.
type openerFunc func(ctx context.Context, m hub.Message) (hub.Stream, error)

func (f openerFunc) OpenStream(ctx context.Context, m hub.Message) (hub.Stream, error) {
	return f(ctx, m)
}

// TestTransportErrors: what a caller can branch on, for errors of the opening and of the cloud.
func TestTransportErrors(t *testing.T) {
	for name, tt := range map[string]struct{ err, want error }{
		"no link":     {hub.ErrOffline, manager.ErrOffline},
		"lost":        {fmt.Errorf("x: %w", hub.ErrInterrupted), manager.ErrOffline},
		"old version": {&hub.Error{Code: hub.CodeUnsupported}, manager.ErrUnsupported},
		"busy":        {&hub.Error{Code: hub.CodeExhausted}, manager.ErrBusy},
	} {
		transport := manager.NewTransport(openerFunc(func(_ context.Context, m hub.Message) (hub.Stream, error) {
			if m.Key.Resource != "api/stream" {
				t.Errorf("a stream for %s", m.Key)
			}
			return nil, tt.err
		}), "api/stream")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := transport.RoundTrip(req); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v %v", name, resp, err)
		}
	}
}

// TestTransportRefused: the cloud refuses an open stream; its reason comes through net/http.
func TestTransportRefused(t *testing.T) {
	network := memconn.New(memconn.Config{})
	mux := &hub.Mux{}
	mux.HandleStream("busy", hub.StreamHandlerFunc(func(context.Context, hub.Request, hub.Stream) error {
		return &hub.Error{Code: hub.CodeExhausted, Text: "full"}
	}))
	up := make(chan struct{})
	server, err := hub.NewServer(hub.ServerConfig{Listener: network, Mux: mux, Directory: hub.DirectoryFunc(func(context.Context, hub.Hello) (hub.Node, error) { return hub.Node{}, nil })})
	if err != nil {
		t.Fatal(err)
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("a"), Node: "a", Connected: []func(hub.Info){func(info hub.Info) {
		if info.Connected {
			close(up)
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- server.Run(ctx) }()
	go func() { ended <- client.Run(ctx) }()
	<-up
	for resource, want := range map[string]error{"busy": manager.ErrBusy, "unknown": manager.ErrUnsupported} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := manager.NewTransport(client, resource).RoundTrip(req); !errors.Is(err, want) {
			t.Errorf("%s: %v %v", resource, resp, err)
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	network.Close()
}
