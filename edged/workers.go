package edged

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/actions"
	"github.com/edgekit/edgekit/edged/internal/admission"
	"github.com/edgekit/edgekit/edged/internal/podsources"
)

// assignPods gives each pod of a new list to its worker, and makes workers for new
// pods. The workers of pods that are no longer listed end them.
func (a *Agent) assignPods(ctx context.Context, list []*corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil {
		return // workers may have ended already: their pods are not new ones
	}
	a.setListedLocked(list)
	a.waiting, a.awaitsDevices = nil, false
	for _, p := range list {
		switch w := a.workers[p.UID]; {
		case w != nil:
			w.update(p)
		case a.isNameTakenLocked(p), a.orphans[p.UID] == nil && (a.awaitDevicesLocked(p) || a.preemptLocked(ctx, p)):
			a.waiting = append(a.waiting, p)
		default:
			a.startLocked(ctx, p, a.orphans[p.UID] != nil)
		}
		delete(a.orphans, p.UID)
	}
	for uid, w := range a.workers {
		if !a.listed[uid] {
			w.markDeleted()
		}
	}
}

// newActions makes what does for pods what was decided.
func (a *Agent) newActions() *actions.Performer {
	cfg := actions.Config{
		Runtime: a.cfg.Runtime, Volumes: a.volumes, Specs: a.specs, Images: a.images, Node: a.node, Groups: a.groups, UserNamespaces: a.userns, Placement: a.placement,
		Devices: a.cfg.Devices, Claims: a.cfg.ResourceClaims, Gone: a.cfg.Reports.PodGone, LogRoot: a.cfg.LogRoot, LogLinks: a.cfg.ContainerLogs.Links,
		MaxBackOff: a.cfg.MaxContainerRestartPeriod, Events: a.events, Metrics: a.metrics, ResizeMetrics: a.resizeMetrics, Logger: a.log,
	}
	cfg.Classes, _ = a.cfg.Objects.(RuntimeClassReader) // nil without
	if trace := a.cfg.Trace; trace != nil {
		cfg.Trace = func(ctx context.Context, pod *corev1.Pod, step actions.Step) (context.Context, func(error)) {
			return trace(ctx, pod, TraceStep(step))
		}
	}
	return actions.New(cfg)
}

// startLocked starts a worker for a pod that has none. A pod that runs already is
// not admitted anew: it keeps what it has. It needs a.mu.
func (a *Agent) startLocked(ctx context.Context, pod *corev1.Pod, runs bool) *worker {
	w := newWorker(a, pod)
	w.restoreResize()
	a.nodeCgroups.Kick()
	if runs {
		a.placeLocked(w.allocatedLocked(), true)
	} else {
		// A rejected pod has a worker all the same: it reports Failed, and ends the pod when
		// its API object is deleted.
		if w.rejected = a.admitLocked(ctx, w.allocatedLocked()); w.rejected == nil {
			w.rejected = a.placeLocked(w.allocatedLocked(), false)
		}
		if w.rejected != nil {
			a.events.Pod(pod, corev1.EventTypeWarning, w.rejected.Reason, strings.TrimPrefix(w.rejected.Message, admission.MessagePrefix))
		}
		w.grantSpec()
	}
	a.workers[pod.UID] = w
	a.wg.Go(func() {
		w.run(ctx)
		a.releaseUserNamespace(ctx, pod.UID) // before another worker of this pod can be made
		a.forget(pod.UID, w)
		a.nodeCgroups.Kick()
		a.placement.Kick()
		if ctx.Err() == nil {
			a.retryResizes(triggerRemoved) // there may be room now
		}
		a.noteFreed()
	})
	return w
}

// noteFreed has the pods that wait be looked at again. It never blocks.
func (a *Agent) noteFreed() {
	select {
	case a.nameFreed <- struct{}{}:
	default:
	}
}

// forget ends the entry of a worker that has ended.
func (a *Agent) forget(uid types.UID, w *worker) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.workers[uid] == w {
		delete(a.workers, uid)
	}
}

// isNameTakenLocked reports whether another pod of this name has not left the node
// yet. Its successor waits, since both would write the same status and the same
// folder of logs. It needs a.mu.
func (a *Agent) isNameTakenLocked(pod *corev1.Pod) bool {
	for uid, w := range a.workers {
		if has := w.spec(); uid != pod.UID && has.Name == pod.Name && has.Namespace == pod.Namespace {
			return true
		}
	}
	return false
}

// wakePod wakes the worker of a pod of which something changed in the runtime. A
// pod without a worker may be an orphan.
func (a *Agent) wakePod(uid string) {
	a.mu.Lock()
	w := a.workers[types.UID(uid)]
	a.mu.Unlock()
	if w != nil {
		w.runtimeChanged()
		return
	}
	select {
	case a.unknownPod <- struct{}{}:
	default:
	}
}

// eachWorker calls fn with each worker. It holds no mutex meanwhile.
func (a *Agent) eachWorker(fn func(*worker)) {
	a.mu.Lock()
	all := slices.Collect(maps.Values(a.workers))
	a.mu.Unlock()
	for _, w := range all {
		fn(w)
	}
}

// syncMirrors has the API server show the static pods, where Reports can do that, and gives their
// workers the uids under which they are shown. It is false where it must be tried again.
func (a *Agent) syncMirrors(ctx context.Context, in *podsources.Sources) bool {
	reports, ok := a.cfg.Reports.(podsources.Mirrorer)
	if !ok {
		return true
	}
	shown, ok := in.SyncMirrors(ctx, reports, func(st *corev1.PodStatus) bool { return endedByShutdown(st) && !a.shuttingDown() })
	for uid, mirror := range shown {
		a.mu.Lock()
		w := a.workers[uid]
		a.mu.Unlock()
		if w != nil {
			w.setMirrorUID(mirror)
		}
	}
	if !ok && ctx.Err() == nil {
		a.log.Warn("cannot report static pods; trying again")
	}
	return ok
}
