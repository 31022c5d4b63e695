package groups

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
	"github.com/edgekit/edgekit/controller/internal/runguard"
)

// leaseName is the Lease of the cloudcore that does the work of groups.
const leaseName = "edgekit-groups"

// Config sets up a Controller. Cloud, Dynamic, Nodes, ID and Namespace are required; a
// controller.Controller sets them, and Logger, where they are empty.
type Config struct {
	Cloud   kubernetes.Interface // cloudcore's own identity: labels of nodes, evictions, the Lease
	Dynamic dynamic.Interface    // the same, for groups, applications and their objects
	Nodes   *cache.Store[*corev1.Node]
	// ID names this run of cloudcore; Namespace is where the Lease is.
	ID, Namespace string
	// Every is the least time between two looks at what has changed; 0 means 1s.
	Every time.Duration
	// StatusEvery is the least time between two writes of the status of one group or
	// application; 0 means 5s. A new generation or another condition is written at once.
	StatusEvery time.Duration
	// WritesPerSecond bounds what the API server gets of this cloudcore; 0 means 100, negative
	// is no bound.
	WritesPerSecond int
	Logger          *slog.Logger // nil discards
}

// Controller is the controller of NodeGroups and EdgeApplications. All methods may be called by
// several goroutines at once.
type Controller struct {
	cfg       Config
	log       *slog.Logger
	guard     runguard.Guard
	groups    *cache.Store[*v1alpha1.NodeGroup]
	apps      *cache.Store[*v1alpha1.EdgeApplication]
	workloads []*workloads // in the order of kinds
	limit     *rate.Limiter
	counts    counters
	wake      chan struct{}

	mu    sync.Mutex
	fresh changes
}

// changes is what has changed since the last look.
type changes struct {
	groups bool // a group or a node: all groups and applications are looked at
	apps   map[types.UID]bool
}

type counters struct {
	leading                             atomic.Int64
	labelled, evicted, blocked, applied atomic.Uint64
	pruned, writes, writesFailed        atomic.Uint64
}

// Stats are counts of this cloudcore since its start.
type Stats struct {
	Leading       bool   // it is the one that does the work of groups
	Groups, Apps  int    // NodeGroups and EdgeApplications that there are
	Labelled      uint64 // nodes whose labels were written
	Evicted       uint64 // pods that were evicted from nodes that left their group
	EvictBlocked  uint64 // evictions that a PodDisruptionBudget did not allow, each try
	Applied       uint64 // objects of applications that were applied
	Pruned        uint64 // objects that were deleted because they left their template
	Writes        uint64 // to the API server
	WritesRefused uint64 // those that did not work, conflicts included
}

// Stats returns the counts so far.
func (c *Controller) Stats() Stats {
	n := &c.counts
	return Stats{
		Leading: n.leading.Load() > 0, Groups: c.groups.Len(), Apps: c.apps.Len(), Labelled: n.labelled.Load(),
		Evicted: n.evicted.Load(), EvictBlocked: n.blocked.Load(), Applied: n.applied.Load(), Pruned: n.pruned.Load(),
		Writes: n.writes.Load(), WritesRefused: n.writesFailed.Load(),
	}
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Controller, error) {
	switch {
	case cfg.Cloud == nil || cfg.Dynamic == nil || cfg.Nodes == nil:
		return nil, errors.New("controller/groups: Config.Cloud, Dynamic and Nodes are required")
	case cfg.ID == "" || cfg.Namespace == "":
		return nil, errors.New("controller/groups: Config.ID and Namespace are required")
	case cfg.Every < 0 || cfg.StatusEvery < 0:
		return nil, errors.New("controller/groups: Config.Every or StatusEvery is negative: leave it 0 for the default")
	}
	cfg = cfg.withDefaults()
	c := &Controller{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), limit: rate.NewLimiter(rate.Limit(cfg.WritesPerSecond), 20),
		fresh: changes{groups: true, apps: make(map[types.UID]bool)},
	}
	if cfg.WritesPerSecond < 0 {
		c.limit = rate.NewLimiter(rate.Inf, 1)
	}
	gv := v1alpha1.GroupVersion()
	var err [2]error
	c.groups, err[0] = cache.NewDynamic(cfg.Dynamic, gv.WithResource(v1alpha1.NodeGroups), cache.Config[*v1alpha1.NodeGroup]{Logger: cfg.Logger})
	c.apps, err[1] = cache.NewDynamic(cfg.Dynamic, gv.WithResource(v1alpha1.EdgeApplications), cache.Config[*v1alpha1.EdgeApplication]{Logger: cfg.Logger})
	if err := errors.Join(err[:]...); err != nil {
		return nil, err
	}
	for _, k := range kinds() {
		if !k.copies {
			continue
		}
		w, err := newWorkloads(c, k)
		if err != nil {
			return nil, err
		}
		c.workloads = append(c.workloads, w)
	}
	c.groups.OnChange(c.groupChanged)
	c.apps.OnChange(c.appChanged)
	cfg.Nodes.OnChange(c.nodeChanged)
	return c, nil
}

func (cfg Config) withDefaults() Config {
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.StatusEvery == 0 {
		cfg.StatusEvery = 5 * time.Second
	}
	if cfg.WritesPerSecond == 0 {
		cfg.WritesPerSecond = 100
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// Run watches the API server and, while this cloudcore leads, does the work, until ctx ends; it
// then joins all that it started and returns nil. It may be called once. Config.Nodes must run
// too.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	runs := []func(context.Context) error{c.groups.Run, c.apps.Run}
	for _, w := range c.workloads {
		runs = append(runs, w.store.Run)
	}
	for _, run := range runs {
		g.Go(func() error { return run(ctx) })
	}
	g.Go(func() error {
		if !cache.WaitSynced(ctx, append(c.Synced(), c.cfg.Nodes.Synced())...) {
			return nil
		}
		leader.New(leader.Config{
			Leases: c.cfg.Cloud.CoordinationV1().Leases(c.cfg.Namespace), Lease: leaseName, ID: c.cfg.ID, Work: "groups", Logger: c.log,
		}).Campaign(ctx, c.lead)
		return nil
	})
	return g.Wait()
}

// Synced returns channels that are closed when groups, applications and their workloads are
// known.
func (c *Controller) Synced() []<-chan struct{} {
	all := []<-chan struct{}{c.groups.Synced(), c.apps.Synced()}
	for _, w := range c.workloads {
		all = append(all, w.store.Synced())
	}
	return all
}

func (c *Controller) groupChanged(change cache.Change[*v1alpha1.NodeGroup]) {
	if o, n := change.Old, change.New; o != nil && n != nil && o.Generation == n.Generation &&
		o.UID == n.UID && maps.Equal(o.Labels, n.Labels) && (o.DeletionTimestamp == nil) == (n.DeletionTimestamp == nil) {
		return // a change of the status
	}
	c.look(true, "")
}

func (c *Controller) appChanged(change cache.Change[*v1alpha1.EdgeApplication]) {
	if change.New == nil || change.Old != nil && change.Old.Generation == change.New.Generation && change.Old.UID == change.New.UID {
		return
	}
	c.look(false, change.New.UID)
}

// nodeChanged has groups looked at when a node comes, goes, or differs in what they depend on.
func (c *Controller) nodeChanged(change cache.Change[*corev1.Node]) {
	if o, n := change.Old, change.New; o != nil && n != nil && ready(o) == ready(n) && maps.Equal(o.Labels, n.Labels) &&
		o.Annotations[v1alpha1.LeftGroupAnnotation] == n.Annotations[v1alpha1.LeftGroupAnnotation] {
		return
	}
	c.look(true, "")
}

// look has the leader look at all groups, or at one application. A cloudcore that does not lead
// keeps nothing: when it comes to lead, it looks at everything.
func (c *Controller) look(groups bool, app types.UID) {
	if c.counts.leading.Load() == 0 {
		return
	}
	c.mu.Lock()
	c.fresh.groups = c.fresh.groups || groups
	if app != "" {
		c.fresh.apps[app] = true
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// takeChanges returns what has changed and forgets it.
func (c *Controller) takeChanges() changes {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.fresh
	c.fresh = changes{apps: make(map[types.UID]bool)}
	return n
}
