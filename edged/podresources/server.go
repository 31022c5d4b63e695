package podresources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/localsocket"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// DefaultSocket is the path that clients have in their code.
const DefaultSocket = "/var/lib/kubelet/pod-resources/kubelet.sock"

// The kubelet's limits of calls.
const (
	callsPerSecond = 100
	burst          = 10
)

// Node knows the pods of the node, and what they have alone: an *edged.Agent is one. Its
// methods may be called by several goroutines.
type Node interface {
	// ActivePods lists the pods that hold resources of the node.
	ActivePods() []*corev1.Pod
	// OwnResources is what a container has alone.
	OwnResources(uid, container string) (cpus []int, memory []edged.MemoryBlock)
	// AllocatableResources is what containers can have alone, given or not.
	AllocatableResources() (cpus []int, memory []edged.MemoryBlock)
}

// Claims knows what resource claims give to containers (dynamic resource allocation).
type Claims interface {
	// ContainerClaims lists the claims of a container, with the devices that it has of
	// each. It may be called by several goroutines.
	ContainerClaims(pod *corev1.Pod, container string) []Claim
}

// Claim is a resource claim with the devices that a container has of it.
type Claim struct {
	Namespace, Name string
	Devices         []ClaimDevice
}

// ClaimDevice is a device of a claim.
type ClaimDevice struct {
	Driver, Pool, Device string
	ShareID              string   // of a device that several claims share; "" for none
	CDIDevices           []string // fully qualified names
}

// Config sets up a Server. Node is required.
type Config struct {
	Socket  string           // absolute; "" means DefaultSocket
	Node    Node             // the pods, and what they have alone
	Devices *devices.Manager // the devices of plugins; nil means that there are none
	Claims  Claims           // the devices of claims; nil means that there are none
	Logger  *slog.Logger     // nil discards
}

// Server serves the API. Its methods may be called by several goroutines.
type Server struct {
	cfg     Config
	guard   lifecycle.Guard
	ready   chan struct{}
	limiter *rate.Limiter
	metrics metrics
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Server, error) {
	if cfg.Socket == "" {
		cfg.Socket = DefaultSocket
	}
	if !filepath.IsAbs(cfg.Socket) {
		return nil, fmt.Errorf("podresources: Config.Socket (--pod-resources-socket) %q is not an absolute path: begin it with a slash", cfg.Socket)
	}
	if cfg.Node == nil {
		return nil, errors.New("podresources: Config.Node is required: an *edged.Agent is one")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, ready: make(chan struct{}), limiter: rate.NewLimiter(callsPerSecond, burst), metrics: newMetrics()}, nil
}

// Ready is closed when the socket is served.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves the socket until ctx ends, and then returns nil. A socket that cannot be
// made, such as one that another program serves, is tried again. A second call returns
// edged.ErrStarted.
func (s *Server) Run(ctx context.Context) error {
	if err := s.guard.Start(); err != nil {
		return err
	}
	localsocket.Retry(ctx, s.serve, func(err error) {
		s.cfg.Logger.Warn("the pod-resources socket cannot be served; trying until it can", "socket", s.cfg.Socket, "err", err)
	})
	return nil
}

// serve serves the socket until ctx ends or that fails.
func (s *Server) serve(ctx context.Context) error {
	l, err := localsocket.Listen(s.cfg.Socket)
	if err != nil {
		return err
	}
	server := localsocket.NewServer(grpc.UnaryInterceptor(s.limit))
	server.RegisterService(localsocket.Service("v1.PodResourcesLister", map[string]localsocket.Handler{
		"List": s.list("v1"), "Get": s.get, "GetAllocatableResources": s.allocatable,
	}), nil)
	server.RegisterService(localsocket.Service("v1alpha1.PodResourcesLister", map[string]localsocket.Handler{"List": s.list("v1alpha1")}), nil)
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
	return localsocket.Serve(ctx, server, l)
}

// limit refuses calls above the limit.
func (s *Server) limit(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if !s.limiter.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "rejected by rate limit")
	}
	return handle(ctx, request)
}

// list answers List.
func (s *Server) list(version string) localsocket.Handler {
	return func(context.Context, protomsg.Message) (protomsg.Message, error) {
		s.metrics.request(version, "list")
		var m protomsg.Message
		for _, pod := range s.cfg.Node.ActivePods() {
			m.Part(1, s.pod(pod))
		}
		return m, nil
	}
}

// get answers Get.
func (s *Server) get(_ context.Context, request protomsg.Message) (protomsg.Message, error) {
	s.metrics.request("v1", "get")
	var name, namespace string
	err := protomsg.EachField(request, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			name = string(f.Bytes)
		case 2:
			namespace = string(f.Bytes)
		}
		return nil
	})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	for _, pod := range s.cfg.Node.ActivePods() {
		if pod.Name == name && pod.Namespace == namespace {
			var m protomsg.Message
			m.Part(1, s.pod(pod))
			return m, nil
		}
	}
	s.metrics.notFound.Inc()
	return nil, status.Errorf(codes.Unknown, "pod %s in namespace %s not found", name, namespace) // a kubelet's code
}

// allocatable answers GetAllocatableResources.
func (s *Server) allocatable(context.Context, protomsg.Message) (protomsg.Message, error) {
	s.metrics.request("v1", "get_allocatable")
	var m protomsg.Message
	if s.cfg.Devices != nil {
		for _, d := range s.cfg.Devices.Allocatable() {
			m.Part(1, device(d))
		}
	}
	cpus, memory := s.cfg.Node.AllocatableResources()
	m.Packed(2, numbers(cpus))
	for _, b := range memory {
		m.Part(3, block(b))
	}
	return m, nil
}

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	s.metrics.each(func(c prometheus.Collector) { c.Describe(ch) })
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	s.metrics.each(func(c prometheus.Collector) { c.Collect(ch) })
}
