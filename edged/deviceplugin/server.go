package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/deviceapi"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/localsocket"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// DefaultDir is the folder that device plugins have in their code.
const DefaultDir = "/var/lib/kubelet/device-plugins"

// SocketName is the name of the node's socket in the folder.
const SocketName = "kubelet.sock"

// maxConnecting is how many plugins register at the same time; others wait.
const maxConnecting = 8

// Config sets up a Server. Devices is required.
type Config struct {
	Dir     string           // absolute; "" means DefaultDir; it is made when it is not there
	Devices *devices.Manager // gives the plugins' devices to containers
	Logger  *slog.Logger     // nil discards
}

// Server takes the registrations of device plugins, and follows what they have. Its
// methods may be called by several goroutines.
type Server struct {
	cfg        Config
	log        *slog.Logger
	guard      lifecycle.Guard
	ready      chan struct{}
	connecting chan struct{} // holds a value for each plugin that is registering

	mu      sync.Mutex
	run     context.Context //nolint:containedctx // of Run, for the plugins that it owns
	clients map[clientKey]*client
	wg      sync.WaitGroup // the clients
}

// clientKey names a plugin: no two with one key are connected.
type clientKey struct{ resource, socket string }

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		cfg.Dir = DefaultDir
	}
	if !filepath.IsAbs(cfg.Dir) {
		return nil, fmt.Errorf("deviceplugin: Config.Dir (--device-plugin-dir) %q is not an absolute path: begin it with a slash", cfg.Dir)
	}
	if cfg.Devices == nil {
		return nil, errors.New("deviceplugin: Config.Devices is required: see edged/devices")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg: cfg, log: cfg.Logger, ready: make(chan struct{}), connecting: make(chan struct{}, maxConnecting), clients: make(map[clientKey]*client),
	}, nil
}

// Ready is closed when plugins can register.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves kubelet.sock until ctx ends, and then returns nil; the plugins are gone then.
// A folder that cannot be served, such as one that another program serves, is tried again:
// the node runs without device plugins meanwhile. A second call returns edged.ErrStarted.
func (s *Server) Run(ctx context.Context) error {
	if err := s.guard.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.run = ctx
	s.mu.Unlock()
	defer s.wg.Wait()
	defer s.stop()
	defer cancel()
	localsocket.Retry(ctx, s.serve, func(err error) {
		s.log.Warn("device plugins cannot register; trying until they can", "dir", s.cfg.Dir, "err", err)
	})
	return nil
}

// stop refuses further plugins.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = nil
}

// serve serves the folder until ctx ends or that fails.
func (s *Server) serve(ctx context.Context) error {
	path := filepath.Join(s.cfg.Dir, SocketName)
	if err := localsocket.CheckFree(path); err != nil {
		return err
	}
	if err := s.removeSockets(); err != nil {
		return err
	}
	l, err := localsocket.Listen(path)
	if err != nil {
		return err
	}
	server := localsocket.NewServer()
	server.RegisterService(localsocket.Service(deviceapi.RegistrationService, map[string]localsocket.Handler{"Register": s.register}), nil)
	s.mu.Lock()
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
	s.mu.Unlock()
	s.log.Info("device plugins can register", "socket", path)
	return localsocket.Serve(ctx, server, l)
}

// removeSockets removes the sockets that are left in the folder, as a kubelet does:
// plugins take that for a sign to register again.
func (s *Server) removeSockets() error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Type()&fs.ModeSocket == 0 {
			continue
		}
		if err := os.Remove(filepath.Join(s.cfg.Dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// register answers a plugin that registers.
func (s *Server) register(ctx context.Context, request protomsg.Message) (protomsg.Message, error) {
	r, err := deviceapi.ReadRegistration(request)
	switch {
	case err != nil:
		err = status.Error(codes.InvalidArgument, err.Error())
	case r.Version != deviceapi.Version:
		err = status.Errorf(codes.InvalidArgument, "requested API version %q is not supported by this node: use %s", r.Version, deviceapi.Version)
	case r.Endpoint == "" || filepath.Base(r.Endpoint) != r.Endpoint || !filepath.IsLocal(r.Endpoint) || r.Endpoint == SocketName:
		err = status.Errorf(codes.InvalidArgument, "the endpoint %q is not the name of a socket in %s", r.Endpoint, s.cfg.Dir)
	default:
		err = s.Connect(ctx, r.Resource, filepath.Join(s.cfg.Dir, r.Endpoint))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("a device plugin is refused", "resource", r.Resource, "endpoint", r.Endpoint, "err", err)
	}
	return nil, err
}

// Connect connects to the plugin of a resource on a socket, and follows what it has until
// it ends that, Disconnect is called, or Run ends. A plugin with the same resource and
// socket that was connected before is replaced. The error says why it is refused.
func (s *Server) Connect(ctx context.Context, resource, socket string) error {
	if !devices.IsExtended(resource) {
		return status.Errorf(codes.InvalidArgument, "the resource name %q is invalid: it must be an extended resource, such as vendor.example/device, of no domain of kubernetes.io", resource)
	}
	select {
	case s.connecting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.connecting }()
	c, err := newClient(ctx, resource, socket, s.log)
	if err != nil {
		return err
	}
	if c.endpoint, err = s.cfg.Devices.Connect(resource, c, c.options); err != nil {
		c.close()
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	s.Disconnect(resource, socket) // only now: the devices stay allocatable meanwhile
	if !s.follow(c) {
		c.close()
		return status.Error(codes.Unavailable, "the node is shutting down, or starts, or another plugin has this socket")
	}
	s.log.Info("device plugin registered", "resource", resource, "socket", socket)
	return nil
}

// follow has a goroutine follow what a plugin has. It is false if Run does not run, or
// another plugin of this name was faster.
func (s *Server) follow(c *client) bool {
	key := clientKey{c.resource, c.socket}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil || s.run.Err() != nil || s.clients[key] != nil {
		return false
	}
	ctx, cancel := context.WithCancel(s.run)
	c.cancel = cancel
	s.clients[key] = c
	s.wg.Go(func() {
		defer close(c.done)
		defer cancel()
		err := c.watch(ctx)
		c.close()
		s.mu.Lock()
		delete(s.clients, key)
		s.mu.Unlock()
		if ctx.Err() == nil {
			s.log.Warn("device plugin is gone", "resource", c.resource, "socket", c.socket, "err", err)
		}
	})
	return true
}

// Disconnect ends the connection to a plugin, if there is one, and returns when that is
// done.
func (s *Server) Disconnect(resource, socket string) {
	s.mu.Lock()
	c := s.clients[clientKey{resource, socket}]
	s.mu.Unlock()
	if c != nil {
		c.cancel()
		<-c.done
	}
}
