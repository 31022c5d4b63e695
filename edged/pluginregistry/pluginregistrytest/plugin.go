package pluginregistrytest

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Plugin registers one plugin. Its methods may be called by several goroutines.
type Plugin struct {
	registration.UnimplementedRegistrationServer
	info   *registration.PluginInfo
	folder string

	mu     sync.Mutex
	fail   map[string]error
	hang   map[string]bool
	answer chan *registration.RegistrationStatus // holds the last one
}

// New makes a Plugin whose registration goes into a folder. It does no I/O.
func New(info *registration.PluginInfo, folder string) *Plugin {
	return &Plugin{info: info, folder: folder, fail: make(map[string]error), hang: make(map[string]bool), answer: make(chan *registration.RegistrationStatus, 1)}
}

// Serve serves the plugin on its endpoint, and its registration, until ctx ends, and then
// returns nil. It replaces sockets that are there, and removes its own. register adds the
// services of the endpoint.
func Serve(ctx context.Context, p *Plugin, register func(*grpc.Server), opts ...grpc.ServerOption) error {
	g, ctx := errgroup.WithContext(ctx)
	err := serve(ctx, g, p.Endpoint(), register, opts)
	if err == nil {
		err = serve(ctx, g, filepath.Join(p.folder, p.info.Name+"-reg.sock"), func(s *grpc.Server) { registration.RegisterRegistrationServer(s, p) }, opts)
	}
	if err != nil {
		g.Go(func() error { return err })
	}
	return g.Wait()
}

func serve(ctx context.Context, g *errgroup.Group, path string, register func(*grpc.Server), opts []grpc.ServerOption) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path) // closing it removes the socket
	if err != nil {
		return err
	}
	server := grpc.NewServer(opts...)
	register(server)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, grpc.ErrServerStopped) { // stopped before it served
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		server.Stop()
		return nil
	})
	return nil
}

// Endpoint is the plugin's socket.
func (p *Plugin) Endpoint() string { return p.info.Endpoint }

// Registered gives what the node answered to a registration.
func (p *Plugin) Registered() <-chan *registration.RegistrationStatus { return p.answer }

// Fail has a call, as "NodeStageVolume", fail; nil has it work again.
func (p *Plugin) Fail(call string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail[call] = err
}

// Hang has a call wait for its caller to give up.
func (p *Plugin) Hang(call string, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hang[call] = on
}

// Fault is what an interceptor answers to a call that is to fail or to hang, when the
// caller has given up; nil for any other call.
func (p *Plugin) Fault(ctx context.Context, call string) error {
	p.mu.Lock()
	fail, hang := p.fail[call], p.hang[call]
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	return fail
}

// GetInfo is that of the registration.
func (p *Plugin) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return p.info, nil
}

// NotifyRegistrationStatus is that of the registration.
func (p *Plugin) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	p.mu.Lock() // so that only one at a time replaces the answer
	defer p.mu.Unlock()
	select {
	case <-p.answer:
	default:
	}
	p.answer <- s
	return &registration.RegistrationStatusResponse{}, nil
}
