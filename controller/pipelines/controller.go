package pipelines

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
)

// Config sets up a Controller. Cloud, Dynamic, Nodes and ID are required; a
// controller.Controller sets them, and Gone and Logger, where they are empty.
type Config struct {
	Cloud   kubernetes.Interface // cloudcore's own identity: ConfigMaps and Secrets
	Dynamic dynamic.Interface    // the same, for Pipelines
	Nodes   *cache.Store[*corev1.Node]
	ID      string // names this run of cloudcore
	// Gone reports whether another cloudcore is known not to run: what it counted in a status is
	// then left out. nil knows of none.
	Gone func(id string) bool
	// Check says what is wrong with a Pipeline that the schema cannot see, as pipeline.Compile
	// does; nil checks nothing, and the nodes say it.
	Check func(*v1alpha1.Pipeline) error
	// TargetCAs are the authorities of https:// URLs; nil means the system's.
	TargetCAs *x509.CertPool
	// LocalTargets lets sinks send to URLs at addresses of this machine (loopback) and
	// link-local ones.
	LocalTargets bool
	// Retry is the pause after a failed try of a batch; it doubles up to a minute. 0 means 1s.
	Retry time.Duration
	// StatusEvery is the least time between two writes of one status; 0 means 10s.
	StatusEvery time.Duration
	Logger      *slog.Logger // nil discards
}

// Controller is the cloud's half of pipelines.
type Controller struct {
	cfg       Config
	log       *slog.Logger
	guard     runguard.Guard
	pipelines *cache.Store[*v1alpha1.Pipeline]
	notifier  nodesync.Notifier
	targets   *delivery.Targets
	queues    *delivery.Queues
	statuses  *statuses
	inputs    *inputs
	partials  partials

	mu       sync.Mutex
	attached map[string]int // sources with a subscriber, by node
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Controller, error) {
	switch {
	case cfg.Cloud == nil || cfg.Dynamic == nil || cfg.Nodes == nil || cfg.ID == "":
		return nil, errors.New("controller/pipelines: Config.Cloud, Dynamic, Nodes and ID are required")
	case cfg.StatusEvery < 0 || cfg.Retry < 0:
		return nil, errors.New("controller/pipelines: Config.Retry or StatusEvery is negative: leave it 0 for the default")
	}
	if cfg.StatusEvery == 0 {
		cfg.StatusEvery = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Controller{cfg: cfg, log: cfg.Logger, attached: make(map[string]int)}
	c.targets = delivery.NewTargets(delivery.TargetsConfig{CAs: cfg.TargetCAs, Local: cfg.LocalTargets, Timeout: 30 * time.Second, Who: "pipelines", Setting: "pipelines-local-targets"})
	var err error
	if c.queues, err = delivery.New(delivery.Config{
		Resources: []string{wire.Events}, Try: c.try, Pending: "the sink's URL has not taken the events yet", Retry: cfg.Retry,
	}); err != nil {
		return nil, err
	}
	if c.pipelines, err = cache.NewDynamic(cfg.Dynamic, v1alpha1.GroupVersion().WithResource(wire.Pipelines),
		cache.Config[*v1alpha1.Pipeline]{Same: samePipeline, Strip: func(p *v1alpha1.Pipeline) { p.Spec.Tests = nil }, Logger: cfg.Logger}); err != nil {
		return nil, err
	}
	c.statuses, c.inputs = newStatuses(c), newInputs(c)
	c.pipelines.OnChange(c.pipelineChanged)
	cfg.Nodes.OnChange(c.nodeChanged)
	return c, nil
}

// samePipeline reports that a change of a Pipeline concerns its status alone.
func samePipeline(before, after *v1alpha1.Pipeline) bool {
	return before.UID == after.UID && before.Generation == after.Generation && after.Generation != 0
}

// Run watches the API server, delivers events and writes statuses until ctx ends; it then joins
// all that it started and returns nil. It may be called once. Config.Nodes must run too.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{c.pipelines.Run, c.statuses.run, c.queues.Run, c.inputs.run} {
		g.Go(func() error { return run(ctx) })
	}
	err := g.Wait()
	c.targets.Close()
	return err
}

// Synced is closed when all Pipelines are known.
func (c *Controller) Synced() <-chan struct{} { return c.pipelines.Synced() }

// Connected notes that a node's session has begun or ended here. What a node without a session
// said no longer counts.
func (c *Controller) Connected(info hub.Info) {
	if !info.Connected {
		c.statuses.forget(info.Node)
	}
}

// Inbox returns the Inbox of a node. Events of other resources go to next.
func (c *Controller) Inbox(node string, next hub.Inbox) hub.Inbox { return c.queues.Inbox(node, next) }

// matches reports whether a Pipeline is for a node.
func matches(p *v1alpha1.Pipeline, node string, has labels.Set, exists bool) bool {
	switch {
	case p == nil:
		return false
	case p.Spec.NodeName != "":
		return p.Spec.NodeName == node
	case p.Spec.NodeSelector == nil || !exists:
		return false
	}
	s, err := metav1.LabelSelectorAsSelector(p.Spec.NodeSelector)
	return err == nil && s.Matches(has) // a selector that is none selects none
}

// labelsOf are the labels of a node; false if it is not known.
func (c *Controller) labelsOf(node string) (labels.Set, bool) {
	item, ok := c.cfg.Nodes.Load(cache.Name{Name: node})
	if !ok {
		return nil, false
	}
	return item.Object.Labels, true
}

// isFor reports whether a Pipeline is for a node.
func (c *Controller) isFor(p *v1alpha1.Pipeline, node string) bool {
	if p != nil && p.Spec.NodeName != "" {
		return p.Spec.NodeName == node
	}
	has, ok := c.labelsOf(node)
	return matches(p, node, has, ok)
}

func nameOf(p *v1alpha1.Pipeline) cache.Name { return cache.Name{Namespace: p.Namespace, Name: p.Name} }

func keyOf(name cache.Name) hub.Key {
	return hub.Key{Resource: wire.Pipelines, Namespace: name.Namespace, Name: name.Name}
}

// pipelineChanged follows a change of a Pipeline.
func (c *Controller) pipelineChanged(change cache.Change[*v1alpha1.Pipeline]) {
	if change.Same {
		c.statuses.statusChanged(change.New)
		return
	}
	before, now := refsOf(change.Old), refsOf(change.New)
	c.inputs.change(change.Name, before, now)
	keys := []hub.Key{keyOf(change.Name)}
	for ref := range before {
		keys = append(keys, ref.key())
	}
	for ref := range now {
		if _, had := before[ref]; !had {
			keys = append(keys, ref.key())
		}
	}
	for _, node := range c.attachedNodes() {
		if c.isFor(change.Old, node) || c.isFor(change.New, node) {
			c.notifier.Notify(node, keys...)
		}
	}
	c.statuses.pipelineChanged(change.Name, change.New)
}

func (c *Controller) attachedNodes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes := make([]string, 0, len(c.attached))
	for node := range c.attached {
		nodes = append(nodes, node)
	}
	return nodes
}

// nodeChanged follows the labels of nodes.
func (c *Controller) nodeChanged(change cache.Change[*corev1.Node]) {
	if change.Same || change.Old != nil && change.New != nil && equality.Semantic.DeepEqual(change.Old.Labels, change.New.Labels) {
		return
	}
	var was, is labels.Set
	if change.Old != nil {
		was = change.Old.Labels
	}
	if change.New != nil {
		is = change.New.Labels
	}
	node := change.Name.Name
	for _, p := range c.pipelines.Objects() {
		if matches(p, node, was, change.Old != nil) == matches(p, node, is, change.New != nil) && p.Spec.NodeName != node {
			continue
		}
		keys := []hub.Key{keyOf(nameOf(p))}
		for ref := range refsOf(p) {
			keys = append(keys, ref.key())
		}
		c.notifier.Notify(node, keys...)
		c.statuses.changed(nameOf(p))
	}
}
