package edged

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/pleg"
	"github.com/edgekit/edgekit/edged/static"
	"github.com/edgekit/edgekit/edged/volume"
)

// runtimeRetry is how long to wait for a runtime that does not answer.
const runtimeRetry = time.Second

// Agent runs the pods of one node. It is made by New and run once by Run.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	volumes *volume.Manager
	node    *nodeReporter
	events  *recorder
	// probeFigures counts what containers' probes are answered.
	probeFigures probeFigures
	pulls        chan struct{} // holds a value for each image being pulled
	imagePulls   *image.Pulls  // with which credentials images were pulled
	registries   *registries
	groups       atomic.Pointer[cgroup.Groups]
	runtime      atomic.Pointer[string] // the runtime's name
	ready        chan struct{}
	resolver     resolver

	folder *static.Folder // nil without static pods
	free   chan struct{}  // holds a value: a pod's name may be free again
	// unknown holds a value: the runtime told of a pod that no worker looks after.
	unknown chan struct{}

	mu      sync.Mutex
	workers map[types.UID]*worker
	listed  map[types.UID]bool        // the pods of the last list
	orphans map[types.UID]*corev1.Pod // what was found for pods not in the list
	wg      sync.WaitGroup            // the workers
}

// New makes an Agent. It does no I/O.
func New(cfg Config) (*Agent, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	events := newRecorder(cfg)
	volumes, err := volume.New(volume.Config{
		Root: cfg.Root, Source: cfg.API.rooted(cfg.Objects), Logger: cfg.Logger,
		OnDisk: func(err error) {
			events.ofNode(corev1.EventTypeWarning, "SecretsOnDisk", "the agent may not mount a tmpfs: pods' secrets are written to disk: "+err.Error())
		},
	})
	if err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	a := &Agent{
		cfg: cfg, log: cfg.Logger, volumes: volumes, node: newNodeReporter(cfg, events), events: events,
		pulls: make(chan struct{}, cfg.MaxPulls), imagePulls: image.NewPulls(filepath.Join(cfg.Root, "pulls")),
		registries: newRegistries(cfg.DialRegistry), ready: make(chan struct{}), free: make(chan struct{}, 1),
		unknown: make(chan struct{}, 1), workers: make(map[types.UID]*worker),
	}
	a.node.addressesChanged = func() { a.each(func(w *worker) { w.poke() }) }
	a.node.imagesListed = a.prunePulls
	if cfg.StaticPodDir != "" {
		if a.folder, err = static.New(static.Config{Dir: cfg.StaticPodDir, Node: cfg.NodeName, Logger: cfg.Logger}); err != nil {
			return nil, fmt.Errorf("edged: %w", err)
		}
	}
	return a, nil
}

// Ready is closed when the node was reported and the pods of the first list
// are in the care of workers.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run runs the node's pods until ctx ends, and then returns nil. Containers
// keep running when it returns; another Run adopts them.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.node.load(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	reported := make(chan struct{})
	wg.Go(func() { a.node.run(ctx, reported) })
	wg.Go(func() { a.events.run(ctx) })
	if !a.meetRuntime(ctx) {
		return nil
	}
	watcher, err := pleg.New(pleg.Config{Source: plegSource{a.cfg.Runtime}, Changed: a.changed, Relist: a.cfg.Relist, Logger: a.log})
	if err != nil {
		return fmt.Errorf("edged: %w", err)
	}
	in, err := a.sources(ctx, &wg)
	if err != nil {
		return fmt.Errorf("edged: %w", err)
	}
	defer a.wg.Wait()
	defer cancel()
	if !a.adopt(ctx, in) {
		return nil
	}
	select {
	case <-reported:
		close(a.ready)
	case <-ctx.Done():
		return nil
	}
	watching := make(chan error, 1)
	wg.Go(func() { watching <- watcher.Run(ctx) })
	wg.Go(func() { a.removeOrphans(ctx) })
	return a.follow(ctx, in, a.cfg.Objects.Changed(ctx), watching)
}

// follow hands changes to the workers.
func (a *Agent) follow(ctx context.Context, in *sources, changed <-chan struct{}, watching <-chan error) error {
	for {
		var retry <-chan time.Time
		if !a.mirror(ctx, in) {
			retry = time.After(reportRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-watching:
			if err != nil {
				return fmt.Errorf("edged: %w", err)
			}
			watching = nil
		case list, ok := <-in.pods:
			if !ok {
				if ctx.Err() == nil {
					return errors.New("edged: Objects.Pods ended")
				}
				return nil
			}
			in.take(list)
			a.assign(ctx, in.all())
		case in.static = <-in.files:
			a.assign(ctx, in.all())
		case <-a.free:
			a.assign(ctx, in.all())
		case <-retry:
		case _, ok := <-changed:
			if !ok {
				changed = nil
				continue
			}
			a.each(func(w *worker) { w.contentChanged() })
		}
	}
}

// meetRuntime asks the runtime what must be known before the first pod, for as
// long as it takes. It is false when ctx ended first.
func (a *Agent) meetRuntime(ctx context.Context) bool {
	told := false
	for {
		driver, err := a.cfg.Runtime.CgroupDriver(ctx)
		var version RuntimeVersion
		if err == nil {
			version, err = a.cfg.Runtime.Version(ctx)
		}
		var health RuntimeHealth
		if err == nil {
			health, err = a.cfg.Runtime.Health(ctx) // admission asks for its features
		}
		if err == nil {
			a.groups.Store(cgroup.New(cgroup.Config{Driver: driver, Root: a.cfg.CgroupRoot}))
			a.runtime.Store(&version.Name)
			a.node.setFeatures(health.Features)
			return true
		}
		if !told && ctx.Err() == nil {
			a.log.Warn("waiting for the container runtime", "err", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(runtimeRetry):
		}
	}
}

// assign gives each pod of a new list to its worker, and tells the workers of
// pods that are no longer in it.
func (a *Agent) assign(ctx context.Context, list []*corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil {
		return // workers may have ended already: theirs are not new pods
	}
	a.noteListLocked(list)
	for _, p := range list {
		if w := a.workers[p.UID]; w != nil {
			w.update(p)
		} else if !a.namedLocked(p) {
			a.startLocked(ctx, p, a.orphans[p.UID] != nil)
		}
		delete(a.orphans, p.UID)
	}
	for uid, w := range a.workers {
		if !a.listed[uid] {
			w.vanish()
		}
	}
}

// startLocked starts a worker for a pod that has none.
func (a *Agent) startLocked(ctx context.Context, pod *corev1.Pod, runs bool) *worker {
	w := newWorker(a, pod)
	if !runs {
		if w.rejected = a.admitLocked(ctx, pod); w.rejected != nil {
			a.events.pod(pod, corev1.EventTypeWarning, w.rejected.reason, strings.TrimPrefix(w.rejected.message, rejectedPrefix))
		}
	}
	a.workers[pod.UID] = w
	a.wg.Go(func() {
		w.run(ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.workers[pod.UID] == w {
			delete(a.workers, pod.UID)
		}
		select {
		case a.free <- struct{}{}:
		default:
		}
	})
	return w
}

// namedLocked reports whether another pod of this name has not left yet: a new
// one waits for it, as it would in the API server. It needs a.mu.
func (a *Agent) namedLocked(pod *corev1.Pod) bool {
	for uid, w := range a.workers {
		if has := w.spec(); uid != pod.UID && has.Name == pod.Name && has.Namespace == pod.Namespace {
			return true
		}
	}
	return false
}

// changed wakes the worker of a pod of which something changed.
func (a *Agent) changed(uid string) {
	a.mu.Lock()
	w := a.workers[types.UID(uid)]
	a.mu.Unlock()
	if w != nil {
		w.runtimeChanged()
		return
	}
	select {
	case a.unknown <- struct{}{}:
	default:
	}
}

func (a *Agent) each(fn func(*worker)) {
	a.mu.Lock()
	all := slices.Collect(maps.Values(a.workers))
	a.mu.Unlock()
	for _, w := range all {
		fn(w)
	}
}

// plegSource shows the runtime to pleg.
type plegSource struct{ runtime Runtime }

func (s plegSource) Snapshot(ctx context.Context) (map[string]pleg.Item, error) {
	sandboxes, err := s.runtime.ListSandboxes(ctx, "")
	if err != nil {
		return nil, err
	}
	containers, err := s.runtime.ListContainers(ctx, "")
	if err != nil {
		return nil, err
	}
	out := make(map[string]pleg.Item, len(sandboxes)+len(containers))
	for _, sb := range sandboxes {
		out[sb.ID] = pleg.Item{PodUID: sb.PodUID, State: strconv.FormatBool(sb.Ready)}
	}
	for _, c := range containers {
		out[c.ID] = pleg.Item{PodUID: c.PodUID, State: c.State.String()}
	}
	return out, nil
}

func (s plegSource) Events(ctx context.Context, fn func(uid string)) error {
	err := s.runtime.Events(ctx, func(e RuntimeEvent) { fn(e.PodUID) })
	if errors.Is(err, ErrNoEvents) {
		return pleg.ErrNoEvents
	}
	return err
}
