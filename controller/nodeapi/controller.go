package nodeapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/resources"
)

// Accounts knows the service accounts of nodes' pods; edge.Controller implements
// it.
type Accounts interface {
	// Accounts returns the service accounts of the node's pods.
	Accounts(node string) map[cache.Name]struct{}
	// OnPods has changed called with a node's name after its pods changed. It
	// must be called before the Accounts run.
	OnPods(changed func(node string))
}

// Config sets up a Controller. Cloud, NodeClient and Accounts are required.
type Config struct {
	Cloud      kubernetes.Interface // cloudcore's own identity
	NodeClient kubernetes.Interface // controller.NewNodeClient
	REST       *rest.Config         // where the API server is; nil refuses all requests, and has no issuer
	Accounts   Accounts
	Namespace  string       // of edgekit's own objects
	Logger     *slog.Logger // nil discards

	// MaxStreams is how many requests of pods are open at the API server through this
	// cloudcore at a time, watches among them, and MaxStreamsPerNode how many of one node.
	// Further ones get 429. 0 means 4096 and 256.
	MaxStreams, MaxStreamsPerNode int
	// Metrics registers the metrics of these requests; nil registers them nowhere.
	Metrics prometheus.Registerer

	// Services decides which nodes may have all Services; "" means ServicesMarked.
	Services Services
	// Nodes are the edge nodes, not yet running when New is called; nil marks no
	// node.
	Nodes *cache.Store[*corev1.Node]
}

// Controller serves the nodes that have a Kubernetes API. Its methods may be
// called by several goroutines at once.
type Controller struct {
	guard    runguard.Guard
	cfg      Config
	kinds    map[string]*kind // by resource
	issuer   issuer
	forward  forwarder
	streams  *streams // nil without Config.REST
	placed   placements
	notifier nodesync.Notifier

	mu       sync.Mutex
	nodes    map[string]*node
	bindings bindings
	services map[string]int  // nodes that want them, with their subscribers
	tokens   map[string]int  // nodes that want the issuer's keys, with their subscribers
	started  map[string]bool // by capability
	tasks    runguard.Tasks
}

// node is a node that asked for Access and has a subscriber.
type node struct {
	subscribers int
	needs       map[hub.Key]struct{}
	subjects    map[string]struct{} // all that its pods' service accounts are, as in bindings
}

// New checks the configuration.
func New(cfg Config) (*Controller, error) {
	if cfg.Cloud == nil || cfg.NodeClient == nil || cfg.Accounts == nil {
		return nil, errors.New("nodeapi: Config.Cloud, NodeClient and Accounts are required")
	}
	switch cfg.Services {
	case "":
		cfg.Services = ServicesMarked
	case ServicesMarked, ServicesEvery:
	default:
		return nil, fmt.Errorf("nodeapi: Config.Services is %q: want %q or %q", cfg.Services, ServicesMarked, ServicesEvery)
	}
	if cfg.MaxStreams < 0 || cfg.MaxStreamsPerNode < 0 {
		return nil, errors.New("nodeapi: Config.MaxStreams or MaxStreamsPerNode is negative: leave it 0 for the default")
	}
	cfg.MaxStreams, cfg.MaxStreamsPerNode = cmp.Or(cfg.MaxStreams, 4096), cmp.Or(cfg.MaxStreamsPerNode, 256)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Controller{
		cfg: cfg, nodes: make(map[string]*node), services: make(map[string]int), tokens: make(map[string]int), started: make(map[string]bool),
		bindings: newBindings(),
	}
	c.issuer = issuer{cfg: cfg, changed: c.issuerChanged}
	var err error
	if c.kinds, err = c.newKinds(); err != nil {
		return nil, err
	}
	if cfg.REST != nil {
		if c.forward, err = newForwarder(cfg); err != nil {
			return nil, err
		}
		if c.streams, err = newStreams(cfg, c.forward.base, func(r *http.Request, node, token string) error {
			return c.checkToken(r.Context(), node, token)
		}); err != nil {
			return nil, err
		}
		if cfg.Metrics != nil {
			if err := cfg.Metrics.Register(c.streams.stats); err != nil {
				return nil, fmt.Errorf("nodeapi: Config.Metrics: %w", err)
			}
		}
	}
	cfg.Accounts.OnPods(c.podsChanged)
	if cfg.Nodes != nil {
		c.kinds[wire.MembersResource] = &kind{resource: wire.MembersResource, capability: wire.Groups, store: members{nodes: cfg.Nodes,
			get: func(ctx context.Context, name string) (*corev1.Node, error) {
				return cfg.Cloud.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			}}}
		cfg.Nodes.OnChange(c.nodeChanged)
		cfg.Nodes.OnChange(c.memberChanged)
	}
	return c, nil
}

// Run watches what connected nodes want until ctx ends; it then joins all that
// it started and returns nil.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	c.mu.Lock()
	c.tasks.Open(ctx, g, &c.mu)
	for capability := range c.started {
		c.startWatchesLocked(capability)
	}
	c.mu.Unlock()
	err := g.Wait()
	if t, ok := c.forward.anonymous.(*http.Client); ok {
		t.CloseIdleConnections()
	}
	c.streams.closeIdle()
	return err
}

// watchLocked starts the watches of a capability, unless they run.
func (c *Controller) watchLocked(capability string) {
	if !c.started[capability] {
		c.started[capability] = true
		c.startWatchesLocked(capability)
	}
}

func (c *Controller) startWatchesLocked(capability string) {
	for _, k := range c.kinds {
		if k.capability == capability {
			c.tasks.Start(func(ctx context.Context) {
				if err := k.store.Run(ctx); err != nil {
					c.cfg.Logger.Error("watch ended", "resource", k.resource, "err", err)
				}
			})
		}
	}
	if capability == wire.Tokens {
		c.tasks.Start(c.issuer.run)
	}
}

// Resources returns the resources for which Source answers.
func (c *Controller) Resources() []string {
	return append(slices.Sorted(maps.Keys(c.kinds)), wire.IssuerResource)
}

// Handle has mux answer the nodes' requests for the API server.
func (c *Controller) Handle(mux *hub.Mux) {
	mux.Handle(wire.Call, hub.HandlerFunc(c.call))
	if c.streams != nil {
		mux.HandleStream(wire.Stream, c.streams.server)
	}
}

// issuerChanged notifies all nodes that hold the issuer.
func (c *Controller) issuerChanged() {
	c.mu.Lock()
	all := slices.Collect(maps.Keys(c.tokens))
	c.mu.Unlock()
	for _, name := range all {
		c.notifier.Notify(name, hub.Key(wire.IssuerKey()))
	}
}

// podsChanged computes again what a node needs.
func (c *Controller) podsChanged(name string) {
	c.mu.Lock()
	n := c.nodes[name]
	c.mu.Unlock()
	if n == nil {
		return
	}
	accounts := c.cfg.Accounts.Accounts(name)
	c.mu.Lock()
	var keys []hub.Key
	if c.nodes[name] == n {
		keys = n.replace(c.needsLocked(accounts))
		n.subjects = make(map[string]struct{})
		for account := range accounts {
			for _, subject := range subjectsOf(account) {
				n.subjects[subject] = struct{}{}
			}
		}
	}
	c.mu.Unlock()
	c.notifier.Notify(name, keys...)
}

// needsLocked returns what concerns service accounts: RBAC objects as far as they
// are known, and the accounts' Namespaces.
func (c *Controller) needsLocked(accounts map[cache.Name]struct{}) map[hub.Key]struct{} {
	out := c.bindings.needs(accounts)
	for account := range accounts {
		out[hub.Key{Resource: resources.Namespaces, Name: account.Namespace}] = struct{}{}
	}
	return out
}

// replace sets the keys that the node needs, and returns those that were added or removed.
func (n *node) replace(needs map[hub.Key]struct{}) (changed []hub.Key) {
	for key := range needs {
		if _, had := n.needs[key]; !had {
			changed = append(changed, key)
		}
	}
	for key := range n.needs {
		if _, has := needs[key]; !has {
			changed = append(changed, key)
		}
	}
	n.needs = needs
	return changed
}

// accessChanged follows the roles and Namespaces, and bindings with what changes in the index of
// them. Only for a binding, and only of the nodes that it concerns, are the needs computed again.
func (c *Controller) accessChanged(key hub.Key, update func(*bindings)) {
	var holders, concerned []string
	c.mu.Lock()
	if update != nil {
		update(&c.bindings)
	}
	for name, n := range c.nodes {
		_, needed := n.needs[key]
		switch {
		case update != nil && (needed || n.isAny(c.bindings.subjects[key])):
			concerned = append(concerned, name)
		case needed:
			holders = append(holders, name)
		}
	}
	c.mu.Unlock()
	for _, name := range holders {
		c.notifier.Notify(name, key)
	}
	for _, name := range concerned {
		c.podsChanged(name)
		c.notifier.Notify(name, key)
	}
}

// isAny reports whether a service account of the node's pods is one of the subjects.
func (n *node) isAny(subjects []string) bool {
	return slices.ContainsFunc(subjects, func(s string) bool {
		_, is := n.subjects[s]
		return is
	})
}

// serviceChanged follows the Services and what belongs to them.
func (c *Controller) serviceChanged(key hub.Key) {
	c.mu.Lock()
	names := slices.Collect(maps.Keys(c.services))
	c.mu.Unlock()
	for _, name := range names {
		if c.mayHaveServices(name) {
			c.notifier.Notify(name, key)
		}
	}
}

// firstListWait is how long a list of versions waits for the first list of what
// a node wants.
const firstListWait = 5 * time.Second
