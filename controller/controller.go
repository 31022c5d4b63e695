package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/groups"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/members"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
	"github.com/edgekit/edgekit/controller/nodeapi"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/controller/pipelines"
	"github.com/edgekit/edgekit/controller/rules"
	"github.com/edgekit/edgekit/controller/sites"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// Controller is the cloud side of all edge nodes. It is a hub.Directory. Its
// methods may be called by several goroutines at once.
type Controller struct {
	cfg       Config
	guard     runguard.Guard
	kubelet   *kubeletproxy.Server // nil without Config.Kubelet
	nodes     *cache.Store[*corev1.Node]
	members   *members.Members
	edge      *edge.Controller
	devices   *devices.Controller
	lifecycle *nodelifecycle.Controller
	nodeapi   *nodeapi.Controller
	rules     *rules.Controller     // nil without Config.Rules
	jobs      *jobs.Controller      // nil without Config.Jobs
	console   *console.Server       // nil without Config.Console
	groups    *groups.Controller    // nil without Config.Groups
	pipelines *pipelines.Controller // nil without Config.Pipelines
	sites     *sites.Controller     // nil without Config.Sites
	ready     chan struct{}
}

var _ hub.Directory = (*Controller)(nil)

// ErrStarted is returned by a second Run of one value, of this package or of
// one below it.
var ErrStarted = runguard.ErrStarted

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
	if c.members, err = members.New(members.Config{
		Leases: cfg.Cloud.CoordinationV1().Leases(cmp.Or(cfg.Namespace, install.Namespace)), ID: cfg.ID, Logger: cfg.Logger,
	}); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	edges := edge.Config{Cloud: cfg.Cloud, NodeClient: cfg.NodeClient, Nodes: c.nodes, ReadinessWrites: cfg.ReadinessWrites, Logger: cfg.Logger}
	if c.kubelet, err = newKubeletProxy(cfg, c.nodes); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if c.kubelet != nil {
		edges.AmendNode = c.kubelet.AmendNode
	}
	c.edge, err = edge.New(edges)
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	live := new(console.Live)
	c.devices, err = devices.New(devices.Config{
		Cloud: cfg.Cloud, Dynamic: cfg.Dynamic, Every: cfg.DeviceStatusEvery, WritesPerSecond: cfg.DeviceWrites, Live: cfg.withConsole(live), Mine: c.members.Mine, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	c.lifecycle, err = nodelifecycle.New(nodelifecycle.Config{
		Cloud: cfg.Cloud, NodeClient: cfg.NodeClient, Nodes: c.nodes, ID: cfg.ID, Renewed: c.edge.RestoreReadiness,
		NotReady: c.edge.MarkNotReady, NotReadyAfter: cfg.PodsNotReadyAfter, ReconnectGrace: cfg.ReconnectGrace,
		Members: c.members, Namespace: cfg.Namespace, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	c.edge.OnMarked(c.lifecycle.PodsMarked)
	c.nodeapi, err = nodeapi.New(nodeapi.Config{
		Cloud: cfg.Cloud, NodeClient: cfg.NodeClient, REST: cfg.REST, Accounts: c.edge,
		Namespace: cmp.Or(cfg.Namespace, install.Namespace), Services: cfg.NodeServices, Nodes: c.nodes, Logger: cfg.Logger,
		MaxStreams: cfg.NodeRequests, MaxStreamsPerNode: cfg.NodeRequestsEach, Metrics: cfg.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if c.rules, err = newRules(cfg, c.nodes); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if c.jobs, err = newJobs(cfg, c.nodes); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if c.console, err = c.newConsole(c.nodes, live); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if c.groups, err = newGroups(cfg, c.nodes); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if c.sites, err = c.newSites(); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if c.pipelines, err = c.newPipelines(); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	return c, nil
}

// Links are the links of nodes, as far as a Controller uses them. *hub.Server
// implements it.
type Links interface {
	// OpenStream opens a stream to a connected node, for its kubelet endpoint.
	OpenStream(ctx context.Context, node string, m hub.Message) (hub.Stream, error)
	// Supersede ends the node's session here if the one of by is newer.
	Supersede(node string, by hub.Claim)
}

// Run does the controller's work until ctx ends; it then joins all that it
// started and returns nil. links may be nil only without Config.Kubelet, and
// where this cloudcore is the only one. A second Run returns ErrStarted.
func (c *Controller) Run(ctx context.Context, links Links) error {
	if c.rules != nil && links == nil {
		return errors.New("controller: Run needs the links of nodes for rules: give a hub.Server")
	}
	if c.kubelet != nil && links == nil {
		return errors.New("controller: Run needs the links of nodes to serve kubelet endpoints: give a hub.Server")
	}
	if err := c.guard.Start(); err != nil {
		return err
	}
	parts := []func(context.Context) error{c.members.Run, c.nodes.Run, c.edge.Run, c.devices.Run, c.nodeapi.Run, c.waitSynced}
	var supersede func(string, hub.Claim)
	if links != nil {
		supersede = links.Supersede
	}
	parts = append(parts, func(ctx context.Context) error { return c.lifecycle.Run(ctx, supersede) })
	if c.kubelet != nil {
		parts = append(parts, func(ctx context.Context) error { return c.kubelet.Run(ctx, links.OpenStream) })
	}
	if c.rules != nil {
		parts = append(parts, func(ctx context.Context) error { return c.rules.Run(ctx, links.OpenStream) })
	}
	if c.jobs != nil {
		parts = append(parts, c.jobs.Run)
	}
	if c.console != nil {
		parts = append(parts, func(ctx context.Context) error { return c.runConsole(ctx, links) })
	}
	if c.groups != nil {
		parts = append(parts, c.groups.Run)
	}
	if c.sites != nil {
		parts = append(parts, c.sites.Run)
	}
	if c.pipelines != nil {
		parts = append(parts, c.pipelines.Run)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, run := range parts {
		g.Go(func() error { return run(gctx) })
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("controller: %w", err)
	}
	return nil
}

// Leaving waits, for at most a second, until requests of kubectl to a node are answered, and holds
// back further ones; it is for hub.ServerConfig.Leaving.
func (c *Controller) Leaving(ctx context.Context, node string) {
	if c.kubelet != nil {
		c.kubelet.Leaving(ctx, node)
	}
}

// HandedOver waits until requests of kubectl no longer come here for nodes whose sessions have
// ended, and at most a few seconds. Call it between the end of the last session and that of Run.
func (c *Controller) HandedOver(ctx context.Context) {
	if c.kubelet != nil {
		c.kubelet.HandedOver(ctx)
	}
}

// runConsole serves the console until ctx ends. A console that can no longer listen must not end the
// work for nodes: the log says what is left to do.
func (c *Controller) runConsole(ctx context.Context, links Links) error {
	if err := c.console.Run(ctx, linkOf(links)); err != nil && ctx.Err() == nil {
		c.cfg.Logger.Error("the console has ended and is not served any more; nodes are served as before: start cloudcore again to have it back", "err", err)
	}
	return nil
}

func (c *Controller) waitSynced(ctx context.Context) error {
	all := append(c.devices.Synced(), c.nodes.Synced(), c.edge.Synced())
	if cache.WaitSynced(ctx, all...) {
		close(c.ready)
	}
	return nil
}

// Ready is closed when the caches are filled from the API server. A node that
// connects before gets an error that asks it to try again.
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
	if c.jobs != nil {
		maps.Copy(writers, c.jobs.Writers())
	}
	if c.pipelines != nil {
		maps.Copy(writers, c.pipelines.Writers())
	}
	events, err := nodesync.NewSink(nodesync.SinkConfig{Node: node, Writers: map[string]nodesync.Writer{resources.Events: writers[resources.Events]}})
	if err != nil {
		return hub.Node{}, fmt.Errorf("controller: %w", err)
	}
	delete(writers, resources.Events) // an Event that came as state would pass by the limit of the Inbox
	sink, err := nodesync.NewSink(nodesync.SinkConfig{
		Node: node, Writers: writers, First: []string{resources.Nodes}, Last: []string{resources.DeviceStatuses},
		Resend: func() []hub.Key { return c.resend(node) },
	})
	if err != nil {
		return hub.Node{}, fmt.Errorf("controller: %w", err)
	}
	parts := []nodesync.Part{
		{Resources: edge.Resources(), Source: c.edge.Source(node)},
		{Resources: devices.Resources(), Source: c.devices.Source(node)},
		{Resources: c.nodeapi.Resources(), Source: c.nodeapi.Source(node, hello.Capabilities)},
	}
	if c.jobs != nil {
		parts = append(parts, nodesync.Part{Resources: jobs.Resources(), Source: c.jobs.Source(node)})
	}
	if c.sites != nil {
		parts = append(parts, nodesync.Part{Resources: sites.Resources(), Prefix: sites.Prefix, Source: c.sites.Source(node, hello.Capabilities)})
	}
	inbox := c.edge.Inbox(node, events)
	var outbox hub.Outbox
	if c.rules != nil {
		parts = append(parts, nodesync.Part{Resources: rules.Resources(), Source: c.rules.Source(node)})
		inbox = c.rules.Inbox(node, inbox)
		if slices.Contains(hello.Capabilities, wire.Capability) {
			outbox = c.rules.Outbox(node)
		}
	}
	if c.pipelines != nil {
		parts = append(parts, nodesync.Part{Resources: pipelines.Resources(), Source: c.pipelines.Source(node)})
		inbox = c.pipelines.Inbox(node, inbox)
	}
	return hub.Node{
		Down:   nodesync.Union(parts...),
		Up:     sink,
		Inbox:  inbox,
		Outbox: outbox,
		Claim: func(ctx context.Context, decide func(hub.Claim) (hub.Claim, error)) error {
			return c.lifecycle.Claim(ctx, node, decide)
		},
		Duplicate: c.edge.Duplicate,
		Connected: c.connected,
	}, nil
}

// resend are the reports that a node sends when its session begins.
func (c *Controller) resend(node string) []hub.Key {
	keys := append(c.devices.Resend(node), c.edge.ResendReadiness(node)...)
	if c.pipelines != nil {
		keys = append(keys, c.pipelines.Resend(node)...)
	}
	return keys
}

// connected passes a node's coming and going on to the parts that care.
func (c *Controller) connected(info hub.Info) {
	c.lifecycle.Connected(info)
	if c.kubelet != nil {
		c.kubelet.Connected(info)
	}
	if c.pipelines != nil {
		c.pipelines.Connected(info)
	}
}

// Handle registers with mux the answers to nodes' calls: service account tokens,
// single objects of every resource that goes down, and requests of a node's own
// API.
func (c *Controller) Handle(mux *hub.Mux) {
	c.edge.Handle(mux)
	c.devices.Handle(mux)
	c.nodeapi.Handle(mux)
	if c.rules != nil {
		c.rules.Handle(mux)
	}
}
