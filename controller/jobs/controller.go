package jobs

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
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub"
)

// leaseName is the Lease of the cloudcore that does the work of jobs.
const leaseName = "edgekit-jobs"

// Config sets up a Controller. Cloud, Dynamic, Nodes, ID and Namespace are required; a
// controller.Controller sets them, and Logger, where they are empty.
type Config struct {
	Cloud   kubernetes.Interface // cloudcore's own identity: the Lease, events, pull secrets
	Dynamic dynamic.Interface    // the same, for the resources of operations.kubeedge.io
	Nodes   *cache.Store[*corev1.Node]
	// ID names this run of cloudcore; Namespace is where the Lease is.
	ID, Namespace string
	// Every is the least time between two looks at all jobs; 0 means 1s.
	Every time.Duration
	// StatusEvery is the least time between two writes of the counts of one job; 0 means 5s.
	// A new phase or batch is written at once.
	StatusEvery time.Duration
	// WritesPerSecond bounds what the API server gets of this cloudcore about jobs; 0 means
	// 100, negative is no bound. Reports of nodes do not count.
	WritesPerSecond int
	Logger          *slog.Logger // nil discards
}

// Controller is the cloud's half of fleet jobs. All methods may be called by several
// goroutines at once.
type Controller struct {
	cfg      Config
	log      *slog.Logger
	guard    runguard.Guard
	upgrades *cache.Store[*v1alpha2.NodeUpgradeJob]
	prepulls *cache.Store[*v1alpha2.ImagePrePullJob]
	configs  *cache.Store[*v1alpha2.ConfigUpdateJob]
	stored   *cache.Store[*v1alpha2.NodeJobResult] // without logs
	results  *index
	notifier nodesync.Notifier
	limit    *rate.Limiter
	events   eventLimits
	counts   counters
	wake     chan struct{}

	mu           sync.Mutex
	jobs         map[string]*job // by key
	dirty        map[string]bool // uids of jobs with news
	nodesChanged bool
}

type counters struct {
	leading, active, working            atomic.Int64
	grants, reports, refused, timedOut  atomic.Uint64
	ended, failed, writes, writesFailed atomic.Uint64
}

// Stats are counts of this cloudcore since its start.
type Stats struct {
	Leading      bool   // it is the one that does the work of jobs
	Active       int    // jobs that go on, as the one that leads knows them
	Working      int    // nodes that apply a job, likewise
	Permissions  uint64 // permissions that nodes were given
	Reports      uint64 // reports of nodes that were stored
	Refused      uint64 // reports that cannot be read, or are of no job of the node
	TimedOut     uint64 // nodes that did not report in time
	Ended        uint64 // jobs that ended, those that failed included
	Failed       uint64 // jobs that failed
	Writes       uint64 // to the API server
	WritesFailed uint64 // those that did not work, conflicts included
}

// Stats returns the counts so far.
func (c *Controller) Stats() Stats {
	n := &c.counts
	return Stats{
		Leading: n.leading.Load() > 0, Active: int(n.active.Load()), Working: int(n.working.Load()),
		Permissions: n.grants.Load(), Reports: n.reports.Load(), Refused: n.refused.Load(), TimedOut: n.timedOut.Load(),
		Ended: n.ended.Load(), Failed: n.failed.Load(), Writes: n.writes.Load(), WritesFailed: n.writesFailed.Load(),
	}
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Controller, error) {
	switch {
	case cfg.Cloud == nil || cfg.Dynamic == nil || cfg.Nodes == nil:
		return nil, errors.New("controller/jobs: Config.Cloud, Dynamic and Nodes are required")
	case cfg.ID == "" || cfg.Namespace == "":
		return nil, errors.New("controller/jobs: Config.ID and Namespace are required")
	case cfg.Every < 0 || cfg.StatusEvery < 0:
		return nil, errors.New("controller/jobs: Config.Every or StatusEvery is negative: leave it 0 for the default")
	}
	cfg = cfg.withDefaults()
	c := &Controller{
		cfg: cfg, log: cfg.Logger, results: newIndex(), wake: make(chan struct{}, 1),
		jobs: make(map[string]*job), dirty: make(map[string]bool), nodesChanged: true,
		limit: rate.NewLimiter(rate.Limit(cfg.WritesPerSecond), 20),
	}
	if cfg.WritesPerSecond < 0 {
		c.limit = rate.NewLimiter(rate.Inf, 1)
	}
	var err [4]error
	gv := v1alpha2.GroupVersion()
	c.upgrades, err[0] = cache.NewDynamic(cfg.Dynamic, gv.WithResource(v1alpha2.NodeUpgradeJobs), cache.Config[*v1alpha2.NodeUpgradeJob]{Logger: cfg.Logger})
	c.prepulls, err[1] = cache.NewDynamic(cfg.Dynamic, gv.WithResource(v1alpha2.ImagePrePullJobs), cache.Config[*v1alpha2.ImagePrePullJob]{Logger: cfg.Logger})
	c.configs, err[2] = cache.NewDynamic(cfg.Dynamic, gv.WithResource(v1alpha2.ConfigUpdateJobs), cache.Config[*v1alpha2.ConfigUpdateJob]{Logger: cfg.Logger})
	c.stored, err[3] = cache.NewDynamic(cfg.Dynamic, gv.WithResource(v1alpha2.NodeJobResults), cache.Config[*v1alpha2.NodeJobResult]{Strip: strip, Logger: cfg.Logger})
	if err := errors.Join(err[:]...); err != nil {
		return nil, err
	}
	follow(c, c.upgrades, newUpgrade)
	follow(c, c.prepulls, newPrePull)
	follow(c, c.configs, newConfigUpdate)
	c.stored.OnChange(c.resultChanged)
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

// strip removes from a result what only people read.
func strip(res *v1alpha2.NodeJobResult) {
	res.Status.Log = ""
	res.ManagedFields = nil
}

// Run watches the API server and, while this cloudcore leads, does the work of jobs, until ctx
// ends; it then joins all that it started and returns nil. It may be called once. Config.Nodes
// must run too.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{c.upgrades.Run, c.prepulls.Run, c.configs.Run, c.stored.Run} {
		g.Go(func() error { return run(ctx) })
	}
	g.Go(func() error {
		if !cache.WaitSynced(ctx, append(c.Synced(), c.cfg.Nodes.Synced())...) {
			return nil
		}
		leader.New(leader.Config{
			Leases: c.cfg.Cloud.CoordinationV1().Leases(c.cfg.Namespace), Lease: leaseName, ID: c.cfg.ID, Work: "jobs", Logger: c.log,
		}).Campaign(ctx, c.lead)
		return nil
	})
	return g.Wait()
}

// Synced returns channels that are closed when jobs and results are known.
func (c *Controller) Synced() []<-chan struct{} {
	return []<-chan struct{}{c.upgrades.Synced(), c.prepulls.Synced(), c.configs.Synced(), c.stored.Synced()}
}

// follow keeps the jobs of one kind.
func follow[T cache.Object](c *Controller, store *cache.Store[T], parse func(T) *job) {
	var none T
	store.OnChange(func(change cache.Change[T]) {
		if change.New == none {
			c.jobGone(parse(change.Old))
			return
		}
		c.putJob(parse(change.New))
	})
}

// putJob stores a job that is newer than what is known of it.
func (c *Controller) putJob(j *job) {
	c.mu.Lock()
	old := c.jobs[j.key()]
	if old != nil && cache.Compare(j.meta.ResourceVersion, old.meta.ResourceVersion) <= 0 {
		c.mu.Unlock()
		return
	}
	c.jobs[j.key()] = j
	fresh := old == nil || old.meta.UID != j.meta.UID
	if fresh || old.meta.Generation != j.meta.Generation {
		c.dirty[string(j.meta.UID)] = true
	}
	c.mu.Unlock()
	if fresh {
		c.notifyNodes(j)
		if old != nil {
			c.notifyNodes(old)
		}
	}
	c.notify()
}

func (c *Controller) jobGone(j *job) {
	c.mu.Lock()
	if now := c.jobs[j.key()]; now != nil && now.meta.UID == j.meta.UID {
		delete(c.jobs, j.key())
	}
	delete(c.dirty, string(j.meta.UID))
	c.mu.Unlock()
	c.notifyNodes(j)
	c.events.forget(string(j.meta.UID))
	c.notify()
}

// notifyNodes notifies the nodes that have a result of a job.
func (c *Controller) notifyNodes(j *job) {
	for _, node := range c.results.nodesOf(string(j.meta.UID)) {
		c.notifier.Notify(node, hub.Key{Resource: resource, Name: j.key()})
	}
}

// job returns what is known of a job; nil if there is none of that key.
func (c *Controller) job(key string) *job {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jobs[key]
}

func (c *Controller) resultChanged(change cache.Change[*v1alpha2.NodeJobResult]) {
	if change.New != nil {
		c.putResult(change.New)
		return
	}
	c.removeResult(change.Old)
}

// putResult stores a result, from the watch or from a write.
func (c *Controller) putResult(res *v1alpha2.NodeJobResult) {
	now, before := c.results.put(res)
	if now == nil {
		return
	}
	c.markDirty(res)
	if before == nil || before.version != now.version {
		c.notifier.Notify(res.Spec.NodeName, keyOf(res))
	}
}

func (c *Controller) removeResult(res *v1alpha2.NodeJobResult) {
	if c.results.remove(res) {
		c.markDirty(res)
		c.notifier.Notify(res.Spec.NodeName, keyOf(res))
	}
}

// markDirty has the job of a result looked at. A job that is not known is looked at when it comes.
func (c *Controller) markDirty(res *v1alpha2.NodeJobResult) {
	c.mu.Lock()
	j := c.jobs[keyOf(res).Name]
	known := j != nil && string(j.meta.UID) == res.Spec.JobUID
	if known {
		c.dirty[res.Spec.JobUID] = true
	}
	c.mu.Unlock()
	if known {
		c.notify()
	}
}

// nodeChanged has all jobs looked at when a node comes, goes, or has other labels.
func (c *Controller) nodeChanged(change cache.Change[*corev1.Node]) {
	if change.Old != nil && change.New != nil && present(change.Old) == present(change.New) && maps.Equal(change.Old.Labels, change.New.Labels) {
		return
	}
	c.mu.Lock()
	c.nodesChanged = true
	c.mu.Unlock()
	c.notify()
}

// present reports whether a node has a link.
func present(n *corev1.Node) bool {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == nodelifecycle.ConditionConnected {
			return n.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

func (c *Controller) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
