package sites

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
)

// Config sets up a Controller. Cloud, Dynamic and Nodes are required; a controller.Controller sets
// them, and Mine and Logger, where they are empty.
type Config struct {
	Cloud   kubernetes.Interface // cloudcore's own identity: discovery, and single Nodes
	Dynamic dynamic.Interface    // the same, for EdgeSyncs and their objects
	Nodes   *cache.Store[*corev1.Node]
	// Mine says whether this cloudcore writes the status of an EdgeSync; nil: it writes all.
	Mine func(name string) bool
	// Every is the least time between two looks at what has changed; 0 means 500ms.
	Every time.Duration
	// StatusEvery is the least time between two writes of the status of one EdgeSync for its counts; 0 means
	// 5s. Anything else is written at once.
	StatusEvery time.Duration
	// GoneAfter is how long the API server must not know a resource until nodes no longer serve it; 0
	// means 30s. An API server that starts may not know its custom resources for a moment.
	GoneAfter time.Duration
	Logger    *slog.Logger // nil discards
}

// Controller gives nodes the objects that EdgeSyncs name. All methods may be called by several
// goroutines at once.
type Controller struct {
	cfg       Config
	log       *slog.Logger
	guard     runguard.Guard
	syncs     *cache.Store[*v1alpha1.EdgeSync]
	notifier  nodesync.Notifier
	wake      chan struct{}
	arranged  chan struct{} // closed when it is first known what each node holds
	settled   chan struct{} // closed then, or some seconds after Run began: sessions wait no longer
	counts    counters
	confirmed confirmed
	known     map[types.UID]*lookups // what discovery said; only the goroutine of look uses it

	freshMu  sync.Mutex
	allNodes bool                // all nodes are to be looked at
	fresh    map[string]struct{} // nodes that are to be looked at

	// The goroutine of look writes these under mu, and reads them without.
	mu      sync.RWMutex
	plans   []*plan               // from the oldest to the newest
	mirrors map[types.UID]*mirror // of active plans
	nodes   map[string][]*plan    // that hold something
	holders map[types.UID]nodeSet // nodes that hold the objects of an EdgeSync
	full    map[types.UID]nodeSet // nodes that were chosen and have no room
}

type nodeSet map[string]struct{}

type counters struct{ writes, writesFailed, reads atomic.Uint64 }

// Stats are counts of this cloudcore.
type Stats struct {
	EdgeSyncs     int    // that there are
	Objects       int    // that this cloudcore holds for nodes
	Bytes         int64  // of their JSON
	Forbidden     int    // EdgeSyncs that cloudcore may not read
	LimitExceeded int    // EdgeSyncs with objects that are left out
	Reads         uint64 // single objects that were read from the API server for a node since the start
	Writes        uint64 // of statuses since the start
	WritesRefused uint64 // those that did not work, conflicts included
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Controller, error) {
	switch {
	case cfg.Cloud == nil || cfg.Dynamic == nil || cfg.Nodes == nil:
		return nil, errors.New("controller/sites: Config.Cloud, Dynamic and Nodes are required")
	case cfg.Every < 0 || cfg.StatusEvery < 0 || cfg.GoneAfter < 0:
		return nil, errors.New("controller/sites: Config.Every, StatusEvery or GoneAfter is negative: leave it 0 for the default")
	}
	if cfg.Every == 0 {
		cfg.Every = 500 * time.Millisecond
	}
	if cfg.StatusEvery == 0 {
		cfg.StatusEvery = 5 * time.Second
	}
	if cfg.GoneAfter == 0 {
		cfg.GoneAfter = 30 * time.Second
	}
	if cfg.Mine == nil {
		cfg.Mine = func(string) bool { return true }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Controller{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), arranged: make(chan struct{}), settled: make(chan struct{}), allNodes: true,
		confirmed: confirmed{turn: semaphore.NewWeighted(1)},
		fresh:     make(map[string]struct{}), mirrors: make(map[types.UID]*mirror), nodes: make(map[string][]*plan),
		holders: make(map[types.UID]nodeSet), full: make(map[types.UID]nodeSet), known: make(map[types.UID]*lookups),
	}
	var err error
	if c.syncs, err = cache.NewDynamic(cfg.Dynamic, v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeSyncs), cache.Config[*v1alpha1.EdgeSync]{
		Same: same, Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	c.syncs.OnChange(func(cache.Change[*v1alpha1.EdgeSync]) { c.wakeUp() })
	cfg.Nodes.OnChange(c.nodeChanged)
	return c, nil
}

// same reports whether nodes get the same of two versions of an EdgeSync.
func same(before, after *v1alpha1.EdgeSync) bool {
	return before.Generation == after.Generation && equality.Semantic.DeepEqual(before.Status.Names, after.Status.Names) && limited(before) == limited(after)
}

// Stats returns the counts.
func (c *Controller) Stats() Stats {
	st := Stats{EdgeSyncs: c.syncs.Len(), Reads: c.counts.reads.Load(), Writes: c.counts.writes.Load(), WritesRefused: c.counts.writesFailed.Load()}
	c.mu.RLock()
	mirrors := slices.Collect(maps.Values(c.mirrors))
	c.mu.RUnlock()
	for _, m := range mirrors {
		now := m.current()
		st.Objects += now.objects
		st.Bytes += now.bytes
		if forbidden(now.err) {
			st.Forbidden++
		}
		if now.over {
			st.LimitExceeded++
		}
	}
	return st
}

// Run follows EdgeSyncs and their objects until ctx ends; it then joins all that it started and
// returns nil. It may be called once. Config.Nodes must run too.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.syncs.Run(ctx) })
	g.Go(func() error {
		defer close(c.settled)
		wctx, cancel := context.WithTimeout(ctx, firstListWait)
		defer cancel()
		wait(wctx, c.arranged)
		return nil
	})
	g.Go(func() error {
		if !cache.WaitSynced(ctx, c.syncs.Synced(), c.cfg.Nodes.Synced()) {
			return nil
		}
		w := &work{c: c, g: g, written: make(map[types.UID]time.Time)}
		for ctx.Err() == nil {
			next := w.look(ctx)
			c.wait(ctx, next)
		}
		return nil
	})
	return g.Wait()
}

// wait waits until something has changed or a time has come, and for Config.Every at least. Without
// EdgeSyncs only a change matters.
func (c *Controller) wait(ctx context.Context, next time.Time) {
	var due <-chan time.Time
	if c.syncs.Len() > 0 || !next.IsZero() {
		t := time.NewTimer(max(time.Until(next), c.cfg.Every))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-c.wake:
		leader.Sleep(ctx, c.cfg.Every)
	case <-due:
	case <-ctx.Done():
	}
}

func (c *Controller) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// nodeChanged has a node looked at when it comes, goes, or its labels change.
func (c *Controller) nodeChanged(change cache.Change[*corev1.Node]) {
	if o, n := change.Old, change.New; o != nil && n != nil && maps.Equal(o.Labels, n.Labels) {
		return
	}
	c.freshMu.Lock()
	c.fresh[change.Name.Name] = struct{}{}
	c.freshMu.Unlock()
	c.wakeUp()
}

// work is what the goroutine of Run does.
type work struct {
	c       *Controller
	g       *errgroup.Group         // that joins the mirrors
	written map[types.UID]time.Time // when a status was written last
}

// look brings plans, mirrors, nodes and statuses up to date. It returns when to look again if nothing
// changes.
func (w *work) look(ctx context.Context) time.Time {
	w.arrange(ctx)
	next := w.discover(ctx)
	return earlier(next, w.writeStatuses(ctx))
}

func earlier(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// arrange makes the plans, starts and ends mirrors, and finds what each node holds.
func (w *work) arrange(ctx context.Context) {
	c := w.c
	c.freshMu.Lock()
	nodes, everything := c.fresh, c.allNodes
	c.fresh, c.allNodes = make(map[string]struct{}), false
	c.freshMu.Unlock()
	plans, changed := c.readPlans()
	old := c.mirrors
	if changed {
		everything = true
		w.setMirrors(ctx, plans)
	}
	if everything {
		for _, name := range c.cfg.Nodes.Names() {
			nodes[name.Name] = struct{}{}
		}
		for name := range c.nodes {
			nodes[name] = struct{}{}
		}
	}
	held, full := make(map[string][]*plan, len(nodes)), make(map[string][]*plan)
	for name := range nodes {
		if item, ok := c.cfg.Nodes.Load(cache.Name{Name: name}); ok {
			held[name], full[name] = choose(labels.Set(item.Object.Labels), plans)
		}
	}
	before := make(map[string][]*plan)
	c.mu.Lock()
	c.plans = plans
	for name := range nodes {
		before[name] = c.nodes[name]
		c.setNodeLocked(name, held[name], full[name])
	}
	c.mu.Unlock()
	select {
	case <-c.arranged:
	default:
		close(c.arranged)
	}
	for name := range nodes {
		if c.notifier.Subscribed(name) {
			c.notifier.Notify(name, changedKeys(before[name], held[name], old, c.mirrors)...)
		}
	}
}

// readPlans makes plans of the EdgeSyncs, and reports whether any differs from before.
func (c *Controller) readPlans() (plans []*plan, changed bool) {
	had := make(map[types.UID]*plan, len(c.plans))
	for _, p := range c.plans {
		had[p.sync.UID] = p
	}
	for _, name := range c.syncs.Names() {
		item, ok := c.syncs.Load(name)
		if !ok {
			continue
		}
		p := had[item.Object.UID]
		if p == nil || p.version != item.Version {
			changed = true
			p = newPlan(item.Object, item.Version)
		}
		plans = append(plans, p)
	}
	if !changed && len(plans) == len(c.plans) {
		return c.plans, false
	}
	return arrange(plans), true
}

// setMirrors ends the mirrors of plans that are gone or have other objects, and starts those of new ones.
func (w *work) setMirrors(ctx context.Context, plans []*plan) {
	c := w.c
	old := make(map[types.UID]*plan, len(c.plans))
	for _, p := range c.plans {
		old[p.sync.UID] = p
	}
	mirrors := make(map[types.UID]*mirror)
	for _, p := range plans {
		if !p.active() {
			continue
		}
		uid := p.sync.UID
		before := c.mirrors[uid]
		if before != nil && old[uid] != nil && old[uid].sameObjects(p) {
			mirrors[uid] = before
			continue
		}
		m := newMirror(c.cfg.Dynamic.Resource(p.resource), p, c.log.With("edgesync", p.sync.Name))
		if before != nil {
			m.previous = before.names()
		}
		m.wake = c.wakeUp
		m.changed = func(names []cache.Name) { c.objectsChanged(p, names) }
		m.read = func() { c.notifyHolders(uid, p.syncKey()) }
		mctx, cancel := context.WithCancel(ctx)
		m.cancel = cancel
		mirrors[uid] = m
		w.g.Go(func() error {
			m.run(mctx)
			return nil
		})
	}
	for uid, m := range c.mirrors {
		if mirrors[uid] != m {
			m.cancel()
		}
	}
	c.mu.Lock()
	c.mirrors = mirrors
	c.mu.Unlock()
}
