package evictor

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/diskusage"
	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/nodeusage"
	"github.com/edgekit/edgekit/edged/runtime"
)

// How long an evicted pod is waited for, and how often it is looked at: the kubelet's
// podCleanupTimeout and podCleanupPollFreq.
const (
	goneLimit    = 30 * time.Second
	goneInterval = time.Second
)

// hardGrace is what a pod gets to stop where the node cannot wait: the kubelet's
// immediateEvictionGracePeriodSeconds.
const hardGrace = time.Second

// How many files a pass looks at: at rest, for the limits of pods; and where all pods are
// compared, which is seldom. Where a file takes 2 to 10 microseconds, a pass at rest takes
// 10 to 50 milliseconds at the most.
const (
	filesAtRest        = 5_000
	filesUnderPressure = 100_000
)

// Evictor watches a node. See the package comment.
type Evictor struct {
	cfg   Config
	log   *slog.Logger
	guard lifecycle.Guard
	read  reader

	state eviction.State // of Prepare and Run

	mu         sync.Mutex
	known      bool // the node was measured
	conditions []corev1.NodeConditionType
	evicted    map[eviction.Signal]uint64
}

// New checks cfg and makes an Evictor. It does no I/O.
func New(cfg Config) (*Evictor, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Evictor{
		cfg: cfg, log: cfg.Logger, evicted: make(map[eviction.Signal]uint64),
		read: reader{node: cfg.Node, disk: diskusage.New()},
	}, nil
}

// Pressures are the conditions of the node that are True, and whether that is known yet.
// They must not be changed.
func (e *Evictor) Pressures() (conditions []corev1.NodeConditionType, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conditions, e.known
}

// Prepare measures the node for the first time and evicts nothing, so that Pressures is
// true before the first pod is admitted. Conditions that an earlier run reported are held
// as if they were caused now.
func (e *Evictor) Prepare(ctx context.Context) {
	e.state = eviction.Held(e.lastConditions(ctx), time.Now())
	r, ok := e.read.do(ctx, e.cfg.Interval, nil, 0)
	if !ok {
		e.read.join() // Run may never follow
		return
	}
	e.step(r.node)
}

// Run makes a pass at each interval, and at once after pods were evicted and are gone,
// until ctx ends; then it returns nil. A second call returns edged.ErrStarted.
func (e *Evictor) Run(ctx context.Context) error {
	if err := e.guard.Start(); err != nil {
		return err
	}
	defer e.read.join()
	for {
		if evicted := e.pass(ctx); len(evicted) > 0 {
			e.waitUntilGone(ctx, evicted)
		} else {
			sleep(ctx, e.cfg.Interval)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// waitUntilGone waits until what the pods used is free, so that none is evicted for what
// is being freed already.
func (e *Evictor) waitUntilGone(ctx context.Context, uids []types.UID) {
	for began := time.Now(); ctx.Err() == nil && time.Since(began) < goneLimit; {
		sleep(ctx, goneInterval)
		if !slices.ContainsFunc(uids, func(uid types.UID) bool { return !e.cfg.Pods.IsGone(uid) }) {
			return
		}
	}
}

// step folds what was measured into the state.
func (e *Evictor) step(r nodeusage.Reading) eviction.Decision {
	var d eviction.Decision
	cfg := eviction.Config{Thresholds: eviction.ForLayout(e.cfg.Thresholds, r.Layout), TransitionPeriod: e.cfg.TransitionPeriod}
	e.state, d = eviction.Step(e.state, cfg, r.Seen, time.Now())
	e.mu.Lock()
	changed := !e.known || !slices.Equal(e.conditions, d.Conditions)
	e.known, e.conditions = true, d.Conditions
	e.mu.Unlock()
	if changed {
		e.cfg.Changed()
	}
	return d
}

// pass measures the node once and does what follows. It gives the pods that it evicted.
func (e *Evictor) pass(ctx context.Context) []types.UID {
	pods := e.cfg.Pods.Active()
	limited, layers := withLimits(pods)
	var usage map[string]runtime.PodUsage
	if layers {
		// Without an answer only logs and volumes count: no pod is evicted for too much.
		usage, _ = e.runtimeUsage(ctx)
	}
	r, ok := e.read.do(ctx, e.cfg.Interval, e.folders(limited), filesAtRest)
	if !ok || ctx.Err() != nil {
		return nil
	}
	d := e.step(r.node)
	if evicted := e.enforceLimits(limited, usage, r); len(evicted) > 0 {
		return evicted
	}
	if d.Reclaim == nil {
		return nil
	}
	signal := d.Reclaim.Signal
	e.log.Warn("the node is short of something", "signal", signal, "observed", r.node.Seen[signal])
	e.cfg.NodeEvent(corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim "+string(signal.Resource()))
	if e.reclaim(ctx, signal, r.node.Layout) {
		return nil
	}
	return e.evictOne(ctx, d, r.node)
}

// enforceLimits evicts the pods that use more local storage than they may.
func (e *Evictor) enforceLimits(pods []*corev1.Pod, usage map[string]runtime.PodUsage, r reading) []types.UID {
	var out []types.UID
	for _, p := range pods {
		u := combine(e.cfg.Pods.Folders(p), r.disk, usage[string(p.UID)])
		x := eviction.CheckLimits(p, u, r.node.Layout)
		if x != nil && e.evict(p, x.Signal, Eviction{Message: x.Message, Grace: hardGrace}) {
			out = append(out, p.UID)
		}
	}
	return out
}

// reclaim frees what the node can do without, and reports whether that was enough.
func (e *Evictor) reclaim(ctx context.Context, s eviction.Signal, l eviction.Layout) bool {
	dead, images := eviction.ReclaimsFirst(s, l)
	if e.cfg.Reclaimer == nil || !dead && !images {
		return false
	}
	if dead {
		if err := e.cfg.Reclaimer.RemoveDead(ctx); err != nil {
			e.log.Warn("cannot remove everything of pods that have ended", "err", err)
		}
	}
	if images {
		freed, err := e.cfg.Reclaimer.ReclaimAll(ctx)
		if err != nil {
			e.log.Warn("cannot remove all images that no pod uses", "err", err)
		}
		e.log.Info("removed images that no pod uses", "bytes", freed)
	}
	r, ok := e.read.do(ctx, e.cfg.Interval, nil, 0)
	return ok && eviction.IsRelieved(eviction.ForLayout(e.cfg.Thresholds, r.node.Layout), r.node.Seen)
}

// evictOne evicts the pod that has to leave first.
func (e *Evictor) evictOne(ctx context.Context, d eviction.Decision, node nodeusage.Reading) []types.UID {
	pods := e.cfg.Pods.Active()
	signal := d.Reclaim.Signal
	usage, err := e.usageOf(ctx, pods, signal)
	if err != nil {
		if ctx.Err() == nil {
			e.log.Warn("cannot read what the pods use: none is evicted now", "signal", signal, "err", err)
		}
		return nil
	}
	for _, p := range eviction.Rank(pods, usage, signal, node.Layout) {
		grace := hardGrace
		if !d.Reclaim.IsHard() {
			grace = e.cfg.MaxGracePeriod // or the pod's own, if that is shorter
		}
		var known *eviction.Usage
		if u, ok := usage[p.UID]; ok {
			known = &u
		}
		message := eviction.Message(p, known, signal, d.Met, node.Seen)
		if e.evict(p, signal, Eviction{Message: message, Grace: grace, Disrupts: true}) {
			return []types.UID{p.UID}
		}
	}
	e.log.Warn("no pod can be evicted", "signal", signal, "pods", len(pods))
	return nil
}

// evict evicts a pod unless it is critical, and reports whether it did.
func (e *Evictor) evict(p *corev1.Pod, s eviction.Signal, how Eviction) bool {
	if eviction.IsCritical(p) {
		e.log.Debug("a critical pod is not evicted", "pod", p.Namespace+"/"+p.Name, "signal", s)
		return false
	}
	if !e.cfg.Pods.Evict(p.UID, how) {
		return false
	}
	e.log.Warn("evicted a pod", "pod", p.Namespace+"/"+p.Name, "signal", s, "message", how.Message)
	e.cfg.PodEvent(p, corev1.EventTypeWarning, eviction.Reason, how.Message)
	e.mu.Lock()
	e.evicted[s]++
	e.mu.Unlock()
	return true
}
