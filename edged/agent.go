package edged

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/actions"
	"github.com/edgekit/edgekit/edged/internal/agentmetrics"
	"github.com/edgekit/edgekit/edged/internal/diskusage"
	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/evictor"
	"github.com/edgekit/edgekit/edged/internal/imagepull"
	"github.com/edgekit/edgekit/edged/internal/leftovers"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/nodecgroups"
	"github.com/edgekit/edgekit/edged/internal/placement"
	"github.com/edgekit/edgekit/edged/internal/podcgroups"
	"github.com/edgekit/edgekit/edged/internal/podsources"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/prober"
	"github.com/edgekit/edgekit/edged/internal/resize"
	"github.com/edgekit/edgekit/edged/internal/topology"
	"github.com/edgekit/edgekit/edged/internal/userns"
	"github.com/edgekit/edgekit/edged/nodestatus"
	"github.com/edgekit/edgekit/edged/pleg"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/shutdown"
	"github.com/edgekit/edgekit/edged/volume"
)

// runtimeRetry is how long to wait before a runtime that did not answer is asked
// again.
const runtimeRetry = time.Second

// Agent runs the pods of one node. New makes it, Run runs it, once. All its
// methods may be called by several goroutines.
type Agent struct {
	cfg         Config
	log         *slog.Logger
	volumes     *volume.Manager
	node        *nodestatus.Reporter
	events      *events.Recorder
	prober      *prober.Prober
	images      *imagepull.Puller
	evictor     *evictor.Evictor
	shutdown    *shutdown.Manager // nil if nothing delays a shutdown
	groups      *podcgroups.Groups
	userns      *userns.Allocator
	policy      podspec.Policy         // of the resources of pods
	runtime     atomic.Pointer[string] // the runtime's name
	ready       chan struct{}
	guard       lifecycle.Guard
	specs       *podspec.Builder
	disk        disk
	diskMeter   chan struct{}    // holds a value while DiskUsage looks
	diskFolders *diskusage.Meter // of DiskUsage; needs diskMeter

	sources   *podsources.Sources
	leftovers *leftovers.Finder
	nameFreed chan struct{} // holds a value: a pod's name, or room for one, may be free again
	// awaitsDevices says that a listed pod waits for a device plugin; it needs mu.
	awaitsDevices bool
	// unknownPod holds a value: the runtime sent an event of a pod without a worker.
	unknownPod    chan struct{}
	nodeCgroups   *nodecgroups.Keeper
	resizeMetrics *resize.Metrics
	metrics       *agentmetrics.Metrics
	counts        agentmetrics.Counts
	placement     *placement.Placement // set by Run; nil without a policy
	actions       *actions.Performer   // set by Run
	placed        topology.Metrics

	mu      sync.Mutex
	workers map[types.UID]*worker
	listed  map[types.UID]bool // the pods of the last list
	waiting []*corev1.Pod      // pods of the last list whose name, or room, is not free yet
	// preempting are the critical pods that wait until those have ended that yield to them.
	preempting map[types.UID]*corev1.Pod
	orphans    map[types.UID]*corev1.Pod // what was found for pods not in the list
	wg         sync.WaitGroup            // the workers
}

// New checks cfg and makes an Agent. It does no I/O and starts no goroutine.
func New(cfg Config) (*Agent, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	recorder := events.New(cfg.NodeName, cfg.Reports, cfg.Logger)
	recorder.Limit(cfg.EventQPS, cfg.EventBurst)
	var a *Agent
	metrics := agentmetrics.New(cfg.NodeName)
	volumes, err := cfg.newVolumes(recorder, metrics, func() { a.node.CheckNow() })
	if err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	specs := podspec.New(podspec.Config{
		NodeName: cfg.NodeName, ClusterDomain: cfg.ClusterDomain, ClusterDNS: cfg.ClusterDNS, Root: cfg.Root, LogRoot: cfg.LogRoot,
		ResolvConf: cfg.ResolvConf, AllowedSysctls: cfg.AllowedSysctls, SeccompDefault: cfg.SeccompDefault, Policy: cfg.Resources.policy(),
		Objects: cfg.API.withLocalCA(cfg.Objects), LocalAPI: cfg.API.environment, Volumes: volumes,
	})
	a = &Agent{
		cfg: cfg, log: cfg.Logger, volumes: volumes, events: recorder, specs: specs,
		groups: podcgroups.New(cfg.PodCgroups == On), resizeMetrics: resize.NewMetrics(), metrics: metrics, counts: agentmetrics.NewCounts(), diskMeter: make(chan struct{}, 1), ready: make(chan struct{}), nameFreed: make(chan struct{}, 1),
		unknownPod: make(chan struct{}, 1), policy: cfg.Resources.policy(), workers: make(map[types.UID]*worker),
		preempting: make(map[types.UID]*corev1.Pod),
	}
	thresholds, err := cfg.Eviction.thresholds()
	if err != nil {
		return nil, err
	}
	if a.evictor, err = a.newEvictor(thresholds); err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	if a.shutdown, err = a.newShutdown(); err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	if a.node, err = nodestatus.New(a.nodeConfig(thresholds)); err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	if a.disk, err = a.newDisk(); err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	a.prober = prober.New(prober.Config{Executor: cfg.Runtime, HostIPs: a.node.Addresses, Events: recorder, Logger: cfg.Logger})
	a.images, a.nodeCgroups, a.userns = a.newPuller(), a.newNodeCgroups(), cfg.newUserNamespaces()
	a.leftovers = leftovers.New(leftovers.Config{
		NodeName: cfg.NodeName, Runtime: cfg.Runtime, Folders: a.podFolders, Groups: a.groups, LogRoot: cfg.LogRoot, LogLinks: cfg.ContainerLogs.Links, Logger: cfg.Logger,
	})
	a.sources, err = podsources.New(podsources.Config{
		Objects: cfg.Objects, Node: cfg.NodeName, Logger: cfg.Logger, Dir: cfg.StaticPodDir, DirCheck: cfg.StaticPodDirCheck,
		URL: cfg.StaticPodURL, URLHeader: cfg.StaticPodURLHeader, URLCheck: cfg.StaticPodURLCheck, URLFile: filepath.Join(cfg.Root, "static-pods-from-url"),
	})
	if err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	return a, nil
}

// nodeConfig is the part of the Config that is about the Node.
func (a *Agent) nodeConfig(thresholds []eviction.Threshold) nodestatus.Config {
	cfg := nodestatus.Config{
		NodeName: a.cfg.NodeName, Root: a.cfg.Root, Runtime: a.cfg.Runtime, Reports: a.cfg.Reports, NodeIPs: a.cfg.NodeIPs,
		Labels: a.cfg.Labels, Annotations: a.cfg.Annotations, Taints: a.cfg.Taints, MaxPods: a.cfg.MaxPods, PodsPerCore: a.cfg.PodsPerCore, ProviderID: a.cfg.ProviderID, MaxImages: a.cfg.NodeStatusMaxImages, Reserved: a.cfg.reserved(), Features: a.declaredFeatures(),
		Version: a.cfg.Version, Interval: a.cfg.NodeCheck, Unwritable: a.cfg.Unwritable, OutboundIP: a.cfg.OutboundIP, WatchAddresses: a.cfg.WatchAddresses,
		AddressesChanged: func() { a.eachWorker(func(w *worker) { w.wakeUp() }) }, Event: a.events.Node, ImagesListed: func(all []runtime.Image) { a.images.Prune(all) }, Logger: a.cfg.Logger,
		Conditions: a.cfg.Conditions, NotReady: a.notReady,
		Pressures: a.evictor.Pressures, KeptFree: func(capacity corev1.ResourceList) corev1.ResourceList {
			return eviction.Reservation(thresholds, capacity)
		},
	}
	if _, ok := a.cfg.Objects.(VolumeAttachmentReader); ok {
		cfg.VolumesInUse = a.volumes.InUse
	}
	if reports, ok := a.cfg.Reports.(LastReports); ok {
		cfg.LastNode = reports.LastNode
	}
	if objects, ok := a.cfg.Objects.(NodeDeletionWatcher); ok {
		cfg.NodeDeleted = objects.NodeDeleted
	}
	if a.cfg.Devices != nil {
		cfg.Devices = a.cfg.Devices.Resources
	}
	return cfg
}

// Ready is closed when the node was reported and each pod of the first list has a
// worker.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// ErrStarted is returned by every Run of this package, and of the packages below it,
// that is called a second time.
var ErrStarted = lifecycle.ErrStarted

// Run runs the node's pods until ctx ends, and then returns nil. Containers
// keep running when it returns; the Run of another Agent adopts them. A second call
// returns ErrStarted.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.guard.Start(); err != nil {
		return err
	}
	if err := a.load(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	a.actions = a.newActions()
	booted := a.hasBooted(ctx)
	a.recordStart(booted)
	reporting := make(chan error, 1)
	wg.Go(func() { reporting <- a.node.Run(ctx) })
	wg.Go(func() { _ = a.events.Run(ctx) }) // the Agent runs once: so does its recorder
	wg.Go(func() { a.watchMemory(ctx) })
	in := a.sources
	if err := in.Follow(ctx, wg.Go); err != nil {
		return unlessEnded(ctx, fmt.Errorf("edged: %w", err))
	}
	if booted && !a.reportBoot(ctx, in) || !a.waitForRuntime(ctx) || !a.loadClaims(ctx) {
		return nil
	}
	a.evictor.Prepare(ctx) // before the first pod is admitted
	watcher, err := pleg.New(pleg.Config{Source: pleg.FromRuntime(a.cfg.Runtime), Changed: a.wakePod, Relist: a.cfg.Relist, Relisted: a.metrics.Relisted, Logger: a.log})
	if err != nil {
		return fmt.Errorf("edged: %w", err)
	}
	if a.groups.LimitPods() {
		wg.Go(func() { _ = a.nodeCgroups.Run(ctx) }) // the Agent runs once: so does it
	}
	wg.Go(func() { _ = a.placement.Run(ctx) }) // the Agent runs once: so does it
	wg.Go(func() { a.keepDevices(ctx) })
	// Deferred calls run in reverse order: cancel, join the workers, join the rest.
	defer a.wg.Wait()
	defer cancel()
	if !a.adoptPods(ctx, in) {
		return nil
	}
	select {
	case <-a.node.Ready():
		close(a.ready)
	case err := <-reporting:
		return err
	case <-ctx.Done():
		return nil
	}
	// Events count from here on: what happened before is in the first view of each worker.
	watching := make(chan error, 1)
	wg.Go(func() { watching <- watcher.Run(ctx) })
	wg.Go(func() { a.removeOrphans(ctx) })
	a.runDisk(ctx, &wg)
	wg.Go(func() { _ = a.evictor.Run(ctx) }) // the Agent runs once: so does its evictor
	if a.shutdown != nil {
		wg.Go(func() { _ = a.shutdown.Run(ctx) }) // it too
	}
	return a.followChanges(ctx, in, a.cfg.Objects.Changed(ctx), watching)
}

// load reads what an Agent before this one left on the disk.
func (a *Agent) load(ctx context.Context) error {
	if err := a.node.Load(); err != nil {
		return err
	}
	if err := a.checkMachine(); err != nil {
		return err
	}
	if err := a.openPlacement(); err != nil {
		return err
	}
	if err := a.loadDevices(ctx); err != nil {
		return err
	}
	if err := a.userns.Open(ctx); err != nil {
		return fmt.Errorf("edged: %w", err)
	}
	return nil
}

// unlessEnded is err, but nil when ctx has ended: then the end is what was asked for.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// followChanges gives each change to the workers that it concerns, until ctx ends:
// a new list of pods, a static pod, a name that is free again, or a config map or
// secret that may have changed.
func (a *Agent) followChanges(ctx context.Context, in *podsources.Sources, changed <-chan struct{}, watching <-chan error) error {
	for {
		var retry <-chan time.Time
		if !a.syncMirrors(ctx, in) {
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
		case list, ok := <-in.API:
			if !ok {
				if ctx.Err() == nil {
					return errors.New("edged: Objects.Pods ended")
				}
				return nil
			}
			in.SetAPI(list)
			a.assignPods(ctx, in.All())
		case list := <-in.Folder:
			in.SetFolder(list)
			a.assignPods(ctx, in.All())
		case list := <-in.URL:
			in.SetURL(list)
			a.assignPods(ctx, in.All())
		case <-a.nameFreed:
			a.assignPods(ctx, in.All())
		case <-retry:
		case _, ok := <-changed:
			if !ok {
				changed = nil
				continue
			}
			a.eachWorker(func(w *worker) { w.contentChanged() })
		}
	}
}

// waitForRuntime asks the runtime for what must be known before the first pod,
// until it answers. It is false when ctx ended first.
func (a *Agent) waitForRuntime(ctx context.Context) bool {
	logged := false
	for {
		driver, err := a.cfg.Runtime.CgroupDriver(ctx)
		var version runtime.Version
		if err == nil {
			version, err = a.cfg.Runtime.Version(ctx)
		}
		var health runtime.Health
		if err == nil {
			health, err = a.cfg.Runtime.Health(ctx) // admission needs its features
		}
		if err == nil {
			a.groups.Set(cgroup.New(cgroup.Config{Driver: driver, Root: a.cfg.CgroupRoot, Changed: a.metrics.CgroupChanged}), driver != "")
			a.runtime.Store(&version.Name)
			a.node.SetHealth(health)
			return true
		}
		if !logged && ctx.Err() == nil {
			a.log.Warn("waiting for the container runtime", "err", err)
			logged = true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(runtimeRetry):
		}
	}
}
