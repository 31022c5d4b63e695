package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/asnode"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/kubelet"
	"github.com/edgekit/edgekit/controller/live"
	"github.com/edgekit/edgekit/controller/localapi"
	"github.com/edgekit/edgekit/controller/mirror"
	"github.com/edgekit/edgekit/controller/presence"
	"github.com/edgekit/edgekit/hub"
)

// Config sets up a Controller. ID is required, and so is REST or all three
// clients.
type Config struct {
	// REST is how the API server is reached in cloudcore's own name. It is not
	// changed. Its rate limits are not used: the API server's own priority and
	// fairness decides.
	REST *rest.Config
	// Cloud, Dynamic and AsNode take the place of clients made from REST, for
	// example in tests.
	Cloud   kubernetes.Interface
	Dynamic dynamic.Interface
	AsNode  kubernetes.Interface
	// Impersonation is how AsNode made from REST acts as nodes; "" means
	// asnode.Constrained, which goes with the role of package install and takes
	// Kubernetes 1.36. asnode.Detect finds what there is.
	Impersonation asnode.Mode
	// ID names this run of cloudcore; it must differ from that of every other,
	// also of an earlier one on the same machine.
	ID string
	// DeviceStatusEvery is the least time between two writes of one
	// DeviceStatus; 0 means 1s.
	DeviceStatusEvery time.Duration
	// Kubelet serves the nodes' kubelet endpoints; nil leaves Nodes without.
	// Its owner runs it.
	Kubelet *kubelet.Server
	// NodeServices says which nodes may have all Services; "" means those that an
	// operator marked.
	NodeServices localapi.Services
	// Namespace is that of edgekit's own objects; "" means install.Namespace.
	Namespace string
	// Superseded is told of a node whose newest session stands at another
	// cloudcore; hub.Server.Supersede ends the older one here. nil leaves it.
	Superseded func(node string, by hub.Claim)
	// Logger gets what goes wrong; nil discards.
	Logger *slog.Logger
}

// Controller is the cloud side of all edge nodes. It is a hub.Directory. Its
// methods may be called by several goroutines at once.
type Controller struct {
	cfg      Config
	nodes    *live.Store[*corev1.Node]
	edge     *edge.Controller
	devices  *devices.Controller
	presence *presence.Keeper
	localapi *localapi.Controller
	ready    chan struct{}
}

var _ hub.Directory = (*Controller)(nil)

// New checks the configuration and makes the parts.
func New(cfg Config) (*Controller, error) {
	if cfg.ID == "" {
		return nil, errors.New("controller: Config.ID is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := cfg.connect(); err != nil {
		return nil, err
	}
	c := &Controller{cfg: cfg, ready: make(chan struct{})}
	var err error
	if c.nodes, err = edge.NewNodeStore(cfg.Cloud, cfg.Logger); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	edges := edge.Config{Cloud: cfg.Cloud, AsNode: cfg.AsNode, Nodes: c.nodes, Logger: cfg.Logger}
	if cfg.Kubelet != nil {
		cfg.Kubelet.Watch(c.nodes)
		edges.Amend = cfg.Kubelet.Amend
	}
	c.edge, err = edge.New(edges)
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	c.devices, err = devices.New(devices.Config{
		Cloud: cfg.Cloud, Dynamic: cfg.Dynamic, Every: cfg.DeviceStatusEvery, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	c.presence, err = presence.New(presence.Config{
		Cloud: cfg.Cloud, AsNode: cfg.AsNode, Nodes: c.nodes, ID: cfg.ID, Kept: c.edge.Restore, Superseded: cfg.Superseded,
		Namespace: cfg.Namespace, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	c.localapi, err = localapi.New(localapi.Config{
		Cloud: cfg.Cloud, AsNode: cfg.AsNode, REST: cfg.REST, Accounts: c.edge,
		Namespace: cmp.Or(cfg.Namespace, install.Namespace), Services: cfg.NodeServices, Nodes: c.nodes, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	return c, nil
}

// connect makes the clients that are not given.
func (cfg *Config) connect() error {
	if cfg.Cloud != nil && cfg.Dynamic != nil && cfg.AsNode != nil {
		return nil
	}
	if cfg.REST == nil {
		return errors.New("controller: Config.REST is required")
	}
	own := rest.CopyConfig(cfg.REST)
	own.QPS, own.Burst = -1, 0
	hc, err := asnode.HTTPClient(own)
	if err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	if cfg.Cloud == nil {
		if cfg.Cloud, err = kubernetes.NewForConfigAndClient(own, hc); err != nil {
			return fmt.Errorf("controller: %w", err)
		}
	}
	if cfg.Dynamic == nil {
		if cfg.Dynamic, err = dynamic.NewForConfigAndClient(own, hc); err != nil {
			return fmt.Errorf("controller: %w", err)
		}
	}
	if cfg.AsNode == nil {
		if cfg.AsNode, err = asnode.Client(own, cmp.Or(cfg.Impersonation, asnode.Constrained)); err != nil {
			return fmt.Errorf("controller: %w", err)
		}
	}
	return nil
}

// Run does the controller's work until ctx ends; it then joins all that it
// started and returns nil. It may be called once.
func (c *Controller) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{c.nodes.Run, c.edge.Run, c.devices.Run, c.presence.Run, c.localapi.Run, c.waitSynced} {
		g.Go(func() error { return run(gctx) })
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("controller: %w", err)
	}
	return nil
}

func (c *Controller) waitSynced(ctx context.Context) error {
	all := append(c.devices.Synced(), c.nodes.Synced(), c.edge.Synced())
	for _, synced := range all {
		select {
		case <-ctx.Done():
			return nil
		case <-synced:
		}
	}
	close(c.ready)
	return nil
}

// Ready is closed when what the nodes must hold is known. Nodes that come
// before are told to try again.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// Attach gives a node its mirror and the receiver of its reports.
func (c *Controller) Attach(_ context.Context, hello hub.Hello) (hub.Node, error) {
	select {
	case <-c.ready:
	default:
		return hub.Node{}, &hub.Error{
			Code: hub.CodeUnavailable, RetryAfter: 2 * time.Second,
			Text: "cloudcore has not yet read from the API server what its nodes must hold",
		}
	}
	node := hello.Node
	writers := c.edge.Writers()
	for resource, w := range c.devices.Writers() {
		writers[resource] = w
	}
	sink, err := mirror.NewSink(mirror.SinkConfig{
		Node: node, Writers: writers, First: []string{"nodes"}, Last: []string{"devicestatuses"},
	})
	if err != nil {
		return hub.Node{}, fmt.Errorf("controller: %w", err)
	}
	return hub.Node{
		Down: mirror.Union(
			mirror.Part{Resources: edge.Resources(), Source: c.edge.Source(node)},
			mirror.Part{Resources: devices.Resources(), Source: c.devices.Source(node)},
			mirror.Part{Resources: c.localapi.Resources(), Source: c.localapi.Source(node, hello.Capabilities)},
		),
		Up:    sink,
		Inbox: sink,
		Claim: func(ctx context.Context, decide func(hub.Claim) (hub.Claim, error)) error {
			return c.presence.Claim(ctx, node, decide)
		},
		Duplicate: c.edge.Duplicate,
		Connected: c.connected,
	}, nil
}

// connected passes a node's coming and going on to the parts that care.
func (c *Controller) connected(info hub.Info) {
	c.presence.Connected(info)
	if c.cfg.Kubelet != nil {
		c.cfg.Kubelet.Connected(info)
	}
}

// Handle has mux answer the calls of nodes: service account tokens, and single
// objects of every resource that goes down, and requests of a node's own API.
func (c *Controller) Handle(mux *hub.Mux) {
	c.edge.Handle(mux)
	c.devices.Handle(mux)
	c.localapi.Handle(mux)
}
