package edged

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/resize"
	"github.com/edgekit/edgekit/edged/runtime"
)

// What has deferred changes tried again, by the kubelet's names.
const (
	triggerResized    = "pod_resized"
	triggerRemoved    = "pods_removed"
	triggerTerminated = "pod_terminated"
	triggerPeriodic   = "periodic_retry"
)

// resizeRetry is how often a deferred change is tried again without cause: the
// kubelet's retryDelay.
const resizeRetry = 3 * time.Minute

// resizeState is what a worker knows of the changes of its pod's resources, besides what is in
// its memory. It is guarded by the worker's mutex.
type resizeState struct {
	known   bool                  // the record in memory holds what the pod was granted
	pending *plan.ResizeCondition // of what was not granted
	since   time.Time             // since when it is deferred; zero if it is not
	judged  int64                 // the generation that was last decided upon in this life
	retryAt time.Time             // when a deferred change is tried again
}

// restoreResize reads what an Agent before this one knew of the resources of a pod:
// its record, and what it reported.
func (w *worker) restoreResize() {
	r, err := resize.Load(w.a.volumes.PodDir(string(w.pod.UID)))
	if err != nil {
		w.a.log.Warn("cannot read what a pod was granted; it counts as granted what its containers were made with", "pod", podspec.Title(w.pod), "err", err)
	}
	if r != nil {
		w.resize.known, w.mem.Resize.Record = true, *r
	}
}

// restoreResizeConditions takes over what was last reported. The pod's cgroup may not
// have what was granted while that was in progress.
func (w *worker) restoreResizeConditions() {
	if w.last == nil {
		return
	}
	find := func(t corev1.PodConditionType) *plan.ResizeCondition {
		i := slices.IndexFunc(w.last.Conditions, func(c corev1.PodCondition) bool { return c.Type == t && c.Status == corev1.ConditionTrue })
		if i < 0 {
			return nil
		}
		c := &w.last.Conditions[i]
		if t == corev1.PodResizePending && c.Reason == corev1.PodReasonDeferred {
			w.resize.since = c.LastTransitionTime.Time
		}
		return &plan.ResizeCondition{Reason: c.Reason, Message: c.Message, Generation: c.ObservedGeneration}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resize.pending, w.mem.Resize.InProgress = find(corev1.PodResizePending), find(corev1.PodResizeInProgress)
	w.mem.Resize.Group = w.mem.Resize.InProgress != nil
}

// grantSpec notes that a pod was granted what its spec asks for: it was admitted.
func (w *worker) grantSpec() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.resize.known {
		w.resize.known, w.mem.Resize.Record.Allocated = true, resize.Of(w.pod)
	}
}

// allocatedLocked is the pod with the resources that it was granted. Until that is
// known it is the pod itself. It needs w.mu.
func (w *worker) allocatedLocked() *corev1.Pod {
	if !w.resize.known {
		return w.pod
	}
	return w.mem.Resize.Record.Allocated.Apply(w.pod)
}

// heldPodLocked is the pod as it counts for others: with what it was granted, not
// with what was last reported of it. It needs w.mu.
func (w *worker) heldPodLocked() *corev1.Pod {
	if !w.resize.known {
		return w.pod
	}
	held := *w.allocatedLocked()
	held.Status.ContainerStatuses, held.Status.InitContainerStatuses = nil, nil
	held.Status.Resources, held.Status.AllocatedResources = nil, nil
	return &held
}

// actuatedLocked is what was set of the pod's resources. It needs w.mu.
func (w *worker) actuatedLocked() plan.Actuated {
	r := &w.mem.Resize.Record
	if r.ActuatedPod == nil && len(r.Actuated) == 0 {
		return plan.Actuated{}
	}
	c := r.Clone()
	return plan.Actuated{Pod: c.ActuatedPod, Containers: c.Actuated}
}

// followResize keeps the state of the pod's resources: it learns what a pod was made
// with, has new requests decided upon, makes what was granted durable, and notices when
// it is done. It is false where the record cannot be stored.
func (w *worker) followResize(end plan.Ending) bool {
	if end != plan.EndNone {
		w.settlePending(resize.Terminated)
		return true
	}
	w.mu.Lock()
	if !w.resize.known && w.pod.Name != "" {
		w.resize.known, w.mem.Resize.Record.Allocated = true, resize.Of(plan.AllocatedPod(w.pod, w.view))
	}
	granted := w.mem.Resize.Record.Allocated.Granted(w.pod)
	due := !granted && (w.resize.judged != w.pod.Generation || w.deferredLocked() && !time.Now().Before(w.resize.retryAt))
	trigger := triggerResized
	if w.resize.judged == w.pod.Generation {
		trigger = triggerPeriodic
	}
	w.mu.Unlock()
	switch {
	case granted:
		w.settlePending(resize.Reverted)
	case due:
		w.a.retryResizes(trigger)
	}
	return w.storeRecord()
}

// deferredLocked reports whether a change waits for room. It needs w.mu.
func (w *worker) deferredLocked() bool {
	return w.resize.pending != nil && w.resize.pending.Reason == corev1.PodReasonDeferred
}

// settlePending ends a change that was not granted: it is not wanted any more, or the
// pod ends.
func (w *worker) settlePending(how string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resize.pending == nil {
		return
	}
	w.settledLocked(how)
	w.resize.pending, w.resize.since = nil, time.Time{}
}

// settledLocked counts the end of a deferred change. It needs w.mu.
func (w *worker) settledLocked(how string) {
	if w.deferredLocked() && !w.resize.since.IsZero() {
		w.a.resizeMetrics.Settled(w.pod, how, time.Since(w.resize.since))
	}
}

// storeRecord makes durable what the pod was granted, before anything is done about
// it. It is false if that failed, and must be tried again.
func (w *worker) storeRecord() bool {
	w.mu.Lock()
	if !w.mem.Resize.Unstored || w.mem.TornDown {
		w.mu.Unlock()
		return true
	}
	record, uid := w.mem.Resize.Record.Clone(), string(w.pod.UID)
	w.mem.Resize.Unstored = false
	w.mu.Unlock()
	err := record.Store(w.a.volumes.PodDir(uid))
	if err == nil {
		return true
	}
	w.a.log.Warn("cannot store what a pod was granted; trying until it can be", "pod", podspec.Title(w.spec()), "err", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mem.Resize.Unstored = true
	return false
}

// followProgress notices that what was granted must still be set, or is. A step that
// changes resources ends first.
func (w *worker) followProgress(s plan.Situation) {
	if w.current != nil && w.current.resizes || s.Ending != plan.EndNone {
		return
	}
	due := plan.ResizeDue(s)
	w.mu.Lock()
	was := w.mem.Resize.InProgress
	switch {
	case due && was == nil:
		w.mem.Resize.InProgress = &plan.ResizeCondition{Generation: w.pod.Generation}
	case !due && was != nil:
		w.mem.Resize.InProgress = nil
	}
	w.mu.Unlock()
	if !due && was != nil {
		w.a.events.Pod(s.Pod, corev1.EventTypeNormal, resize.EventCompleted, resize.EventMessage("Pod resize completed", s.Pod, was.Generation, ""))
	}
}

// pendingResize is the change that a worker's pod asks for and was not granted; false
// if there is none. One that can never be made is not tried again.
func (w *worker) pendingResize() (resize.Pending, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.resize.known || w.deleted || w.pod.DeletionTimestamp != nil || w.rejected != nil || w.mem.TornDown || w.pod.Name == "" || plan.IsTerminal(w.pod.Status.Phase) {
		return resize.Pending{}, false
	}
	if w.mem.Resize.Record.Allocated.Granted(w.pod) {
		return resize.Pending{}, false
	}
	if w.resize.judged == w.pod.Generation && w.resize.pending != nil && !w.deferredLocked() {
		return resize.Pending{}, false
	}
	return resize.Pending{Desired: w.pod, Allocated: w.allocatedLocked(), Since: w.resize.since}, true
}

// retryResizes decides upon all changes that were not granted yet, in their order.
// The trigger is what gave cause.
func (a *Agent) retryResizes(trigger string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []resize.Pending
	of := make(map[types.UID]*worker)
	for uid, w := range a.workers {
		if p, ok := w.pendingResize(); ok {
			all, of[uid] = append(all, p), w
		}
	}
	resize.Order(all)
	node := a.actions.Facts()
	_, canResize := a.cfg.Runtime.(runtime.Resizer)
	for _, p := range all {
		r := resize.Request{
			Desired: p.Desired, Allocated: p.Allocated, CanResize: canResize, PinnedCPUs: a.cfg.Topology.pinsCPUs(), PinnedMemory: a.cfg.Topology.pinsMemory(),
			Swaps: func(pod *corev1.Pod, c *corev1.Container) bool { return a.policy.SwapAllowed(pod, c, node) },
		}
		if full := a.roomLocked(p.Desired); full != nil {
			r.Full = resize.Reason{Reason: full.Reason, Message: full.Message}
		}
		w := of[p.Desired.UID]
		w.noteVerdict(p, resize.Decide(r), trigger)
		w.wakeUp()
	}
}

// noteVerdict takes over what was decided about a change. An event goes out when
// that is new.
func (w *worker) noteVerdict(p resize.Pending, v resize.Verdict, trigger string) {
	a, pod := w.a, p.Desired
	w.mu.Lock()
	defer w.mu.Unlock()
	first := w.resize.judged != pod.Generation
	w.resize.judged, w.resize.retryAt = pod.Generation, time.Now().Add(resizeRetry)
	if v.Reason == "" {
		if w.deferredLocked() {
			a.resizeMetrics.DeferredAccepted(trigger)
		}
		w.settledLocked(resize.Accepted)
		w.resize.pending, w.resize.since = nil, time.Time{}
		w.mem.Resize.Record.Allocated, w.mem.Resize.Unstored, w.mem.Resize.Group = resize.Of(pod), true, true
		w.mem.Resize.InProgress = &plan.ResizeCondition{Generation: pod.Generation}
		w.mem.Stale = true // the downward API shows resources
		delete(w.mem.Retry, plan.RetryResize)
		a.events.Pod(pod, corev1.EventTypeNormal, resize.EventStarted, resize.EventMessage("Pod resize started", pod, pod.Generation, ""))
		a.nodeCgroups.Kick()
		return
	}
	reason, event := corev1.PodReasonDeferred, resize.EventDeferred
	if v.Reason == corev1.PodReasonInfeasible {
		reason, event = corev1.PodReasonInfeasible, resize.EventInfeasible
		if first {
			a.resizeMetrics.Infeasible(v.Detail)
		}
	}
	old := w.resize.pending
	w.resize.pending = &plan.ResizeCondition{Reason: reason, Message: v.Message, Generation: pod.Generation}
	switch {
	case reason != corev1.PodReasonDeferred:
		w.resize.since = time.Time{}
	case w.resize.since.IsZero():
		w.resize.since = time.Now()
	}
	// A pod that runs on without what it asks for keeps what it was granted, also when
	// all its containers are gone after a reboot.
	w.mem.Resize.Unstored = w.mem.Resize.Unstored || first
	if old == nil || old.Reason != reason || old.Generation != pod.Generation {
		a.events.Pod(pod, corev1.EventTypeWarning, event, resize.EventMessage("Pod resize "+v.Reason, pod, pod.Generation, v.Message))
	}
}

// resizeWake is when the worker must look again for a deferred change; zero for
// never.
func (w *worker) resizeWake() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.deferredLocked() {
		return time.Time{}
	}
	return w.resize.retryAt
}

// resizeStates is what of the pods' changes is open now, for the metrics.
func (a *Agent) resizeStates() []resize.State {
	var out []resize.State
	a.eachWorker(func(w *worker) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s := resize.State{Pod: w.pod, InProgress: w.mem.Resize.InProgress != nil}
		if w.resize.pending != nil {
			s.Pending = w.resize.pending.Reason
		}
		if s.InProgress || s.Pending != "" {
			out = append(out, s)
		}
	})
	return out
}
