package edge

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

// Config sets up a Controller. Cloud, NodeClient and Nodes are required.
type Config struct {
	Cloud      kubernetes.Interface       // cloudcore's own identity
	NodeClient kubernetes.Interface       // controller.NewNodeClient
	Nodes      *cache.Store[*corev1.Node] // the edge nodes, see NodeStore; not yet running when New is called
	// AmendNode completes a node's report about itself before it is written. nil changes
	// nothing.
	AmendNode func(*corev1.Node)
	// ReadinessWrites is how many pods MarkNotReady writes in a second; 0 means 100, negative
	// is no bound.
	ReadinessWrites int
	Logger          *slog.Logger // nil discards
}

// Controller is the EdgeController. Its methods may be called by several
// goroutines at once.
type Controller struct {
	guard    runguard.Guard
	cfg      Config
	pods     *cache.Store[*corev1.Pod]
	notifier nodesync.Notifier
	lists    singleflight.Group // live lists of a node's pods

	readinessWrites *rate.Limiter
	eventLimits     eventLimits

	mu     sync.Mutex
	byNode cache.Index[string]     // pods
	nodes  map[string]*watchedNode // the nodes with a subscriber
	refs   map[hub.Key]*reference  // what those refer to
	// unready are the pods for ResendReadiness and RestoreReadiness, by node; usually there
	// are none.
	unready cache.Index[string]
	onPods  []func(node string)

	onMarked func(node string) // may be nil
	tasks    runguard.Tasks
}

// NewNodeStore returns the store of the edge nodes: those with the role label.
func NewNodeStore(client kubernetes.Interface, logger *slog.Logger) (*cache.Store[*corev1.Node], error) {
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		o.LabelSelector = nodelifecycle.RoleLabel
		return client.CoreV1().Nodes().List(ctx, o)
	}
	follow := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = nodelifecycle.RoleLabel
		return client.CoreV1().Nodes().Watch(ctx, o)
	}
	return cache.New(cache.Config[*corev1.Node]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(
			&toolscache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: follow}, client),
		Type: &corev1.Node{},
		Keep: func(n *corev1.Node) bool {
			_, ok := n.Labels[nodelifecycle.RoleLabel]
			return ok
		},
		Strip:  func(n *corev1.Node) { n.Status.Images = nil },
		Same:   sameNode,
		Logger: logger,
	})
}

// New checks the configuration.
func New(cfg Config) (*Controller, error) {
	if cfg.Cloud == nil || cfg.NodeClient == nil || cfg.Nodes == nil {
		return nil, errors.New("edge: Config.Cloud, NodeClient and Nodes are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limit := rate.Limit(cmp.Or(cfg.ReadinessWrites, 100))
	if limit < 0 {
		limit = rate.Inf
	}
	c := &Controller{
		cfg: cfg,

		readinessWrites: rate.NewLimiter(limit, 10),

		byNode:  make(cache.Index[string]),
		nodes:   make(map[string]*watchedNode),
		refs:    make(map[hub.Key]*reference),
		unready: make(cache.Index[string]),
	}
	const bound = "spec.nodeName!=" // pods that have a node
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		o.FieldSelector = bound
		return cfg.Cloud.CoreV1().Pods(metav1.NamespaceAll).List(ctx, o)
	}
	follow := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = bound
		return cfg.Cloud.CoreV1().Pods(metav1.NamespaceAll).Watch(ctx, o)
	}
	var err error
	c.pods, err = cache.New(cache.Config[*corev1.Pod]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(
			&toolscache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: follow}, cfg.Cloud),
		Type: &corev1.Pod{},
		Same: samePod,
		// Each cloudcore has all pods, and looks at one when it changes and when its node
		// reports it.
		Packing: cache.Protobuf[corev1.Pod](),
		Logger:  cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	c.pods.OnChange(c.podChanged)
	cfg.Nodes.OnChange(c.nodeChanged)
	return c, nil
}

// Run watches the API server until ctx ends; it then joins all that it started
// and returns nil. The store of nodes is run by its owner.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	c.mu.Lock()
	c.tasks.Open(ctx, g, &c.mu)
	for _, r := range c.refs {
		c.startReferenceLocked(r)
	}
	c.mu.Unlock()
	g.Go(func() error { return c.pods.Run(ctx) })
	return g.Wait()
}

// Synced is closed when the pods are known.
func (c *Controller) Synced() <-chan struct{} { return c.pods.Synced() }

// samePod reports whether a node that has before needs no update to after: they differ only in
// what the node itself reports.
func samePod(before, after *corev1.Pod) bool {
	return sameMeta(before, after) && equality.Semantic.DeepEqual(before.Spec, after.Spec) &&
		before.Status.QOSClass == after.Status.QOSClass &&
		equality.Semantic.DeepEqual(before.Status.ResourceClaimStatuses, after.Status.ResourceClaimStatuses) &&
		equality.Semantic.DeepEqual(before.Status.ExtendedResourceClaimStatus, after.Status.ExtendedResourceClaimStatus) &&
		equality.Semantic.DeepEqual(othersConditions(before.Status.Conditions), othersConditions(after.Status.Conditions)) &&
		(terminal(before) == terminal(after))
}

// terminal reports that the pod has ended, which others than the node may
// declare as well, for example an eviction.
func terminal(pod *corev1.Pod) bool {
	return isTerminal(pod.Status.Phase)
}

// othersConditions returns the conditions that the node does not set, without the times
// at which they were probed.
func othersConditions(all []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, cond := range all {
		if !nodeOwns(cond.Type) {
			cond.LastProbeTime = metav1.Time{}
			out = append(out, cond)
		}
	}
	return out
}

func sameNode(before, after *corev1.Node) bool {
	return sameMeta(before, after) && equality.Semantic.DeepEqual(before.Spec, after.Spec) &&
		equality.Semantic.DeepEqual(before.Status.VolumesInUse, after.Status.VolumesInUse) &&
		equality.Semantic.DeepEqual(before.Status.VolumesAttached, after.Status.VolumesAttached)
}

func sameMeta(before, after metav1.Object) bool {
	return equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels()) &&
		equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) &&
		equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences()) &&
		equality.Semantic.DeepEqual(before.GetFinalizers(), after.GetFinalizers()) &&
		timeOf(before.GetDeletionTimestamp()).Equal(timeOf(after.GetDeletionTimestamp())) &&
		equality.Semantic.DeepEqual(before.GetDeletionGracePeriodSeconds(), after.GetDeletionGracePeriodSeconds())
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// Accounts returns the service accounts that the node's pods run as.
func (c *Controller) Accounts(node string) map[cache.Name]struct{} {
	c.mu.Lock()
	names := make([]cache.Name, 0, len(c.byNode[node]))
	for name := range c.byNode[node] {
		names = append(names, name)
	}
	c.mu.Unlock()
	accounts := make(map[cache.Name]struct{})
	for _, name := range names {
		if item, ok := c.pods.Load(name); ok && item.Object.Spec.NodeName == node {
			accounts[cache.Name{Namespace: name.Namespace, Name: item.Object.Spec.ServiceAccountName}] = struct{}{}
		}
	}
	return accounts
}

// OnPods has changed called with a node's name after a pod of it came, changed
// or went. It must be called before Run; changed must return soon.
func (c *Controller) OnPods(changed func(node string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onPods = append(c.onPods, changed)
}

// OnMarked has marked called with a node's name after others have set a pod of it to not ready (see
// RestoreReadiness). It must be called before Run, once; marked must return soon.
func (c *Controller) OnMarked(marked func(node string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onMarked = marked
}
