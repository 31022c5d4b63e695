package edged

import (
	"context"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/actions"
	"github.com/edgekit/edgekit/edged/internal/imagepull"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/podview"
	"github.com/edgekit/edgekit/edged/internal/prober"
)

// Times of a worker. None of them is a rule of Kubernetes.
const (
	reportRetry      = time.Second
	quietStep        = 300 * time.Millisecond // a step shorter than this is reported as a whole
	longStepInterval = time.Second            // how often a pod is looked at during a long step
	observeRetry     = time.Second            // after the runtime did not answer, doubling
	observeRetryMax  = 5 * time.Second
	settleTime       = time.Second // how long a start that was cut may still take effect in the runtime
)

// worker owns one pod. Its goroutine, run, is the only one that decides and
// reports. Actions run in one further goroutine, one step at a time, so that a
// long one (a pull, a grace period) does not keep the worker from noticing what
// happens.
type worker struct {
	a    *Agent
	wake chan struct{} // holds one value

	mu             sync.Mutex
	pod            *corev1.Pod // as last given; never changed, only replaced
	deleted        bool        // the API object is no longer there
	dirty          bool        // the runtime's view may have changed
	rejected       *plan.Rejection
	graceLimit     *time.Duration // of an eviction or a shutdown; nil without
	replaced       bool           // a new worker starts the pod again when this one has ended it
	mem            memory
	resize         resizeState
	pulls          imagepull.BackOffs // has a mutex of its own
	alive          bool               // processes of the pod run, or may
	emptied        bool               // neither containers nor volumes of the pod are left
	mirrorUID      types.UID          // of a static pod: the uid under which the API server shows it
	reportedStatus *corev1.PodStatus  // last reported in this life; never changed, only replaced

	// What follows belongs to run.
	view        plan.View
	reader      *podview.Reader
	last        *corev1.PodStatus // last known to the cloud, as far as is known here
	reported    bool              // a status was reported in this life
	reportedUID types.UID         // of the pod that it was reported of
	// reportFailing says that the last report failed, and that this was logged.
	reportFailing bool
	observeFails  int       // in a row
	start         time.Time // when the pod started, as its status says
	created       time.Time // when this worker was made, by a clock that is never set
	finished      bool
	current       *step
	settleUntil   time.Time   // until then, what a cut step asked of the runtime may still appear
	lastEnding    plan.Ending // as of the last syncPod
	endGrace      time.Duration
	probes        *prober.Pod
	backOffs      map[string]plan.BackOff
	deadAfter     time.Time // when the pod's active deadline passes
}

// memory is what was done for the pod, as the next decision must know it. Nothing depends on it
// for safety: losing it in a crash costs a repetition.
type memory struct {
	actions.Memory

	finalReported bool
	hold          hold
	restart       map[string]string // by name: the id of the container to be restarted
}

// step is a list of actions under way.
type step struct {
	cancel  context.CancelFunc
	done    chan struct{}
	ending  plan.Ending
	starts  bool      // it may make processes of the pod run
	resizes bool      // it changes the resources of the pod
	until   time.Time // when its grace period ends
	started time.Time
}

// newWorker makes the worker of a pod. A status that came with the pod is what the
// cloud knows of it.
func newWorker(a *Agent, pod *corev1.Pod) *worker {
	w := &worker{
		a: a, wake: make(chan struct{}, 1), pod: pod, dirty: true,
		start: time.Now(), created: time.Now(),
		mem: memory{Memory: actions.NewMemory()},
	}
	w.probes = a.prober.Pod(w.wakeUp)
	w.reader = podview.New(podview.Config{Runtime: a.cfg.Runtime, PodDir: a.volumes.PodDir, LogRoot: a.cfg.LogRoot})
	if pod.Status.StartTime != nil {
		w.start = pod.Status.StartTime.Time
	}
	if pod.Status.Phase != "" && (pod.Status.StartTime != nil || plan.IsTerminal(pod.Status.Phase)) {
		w.last = pod.Status.DeepCopy()
	}
	w.mem.Expired = plan.TokenExpired(w.last)
	return w
}

// wakeUp has the worker look at its pod again. It never blocks.
func (w *worker) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// update gives the worker a newer version of its pod. With a new spec what failed
// before is tried again at once.
func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	old := w.pod
	w.pod = pod
	same := old == pod || old.ResourceVersion == pod.ResourceVersion && old.ResourceVersion != ""
	if old.Generation != pod.Generation {
		w.a.resizeMetrics.Requested(old, pod)
	}
	if !maps.Equal(old.Labels, pod.Labels) || !maps.Equal(old.Annotations, pod.Annotations) || old.Generation != pod.Generation {
		w.mem.Stale = true // the downward API shows labels and annotations
		clear(w.mem.Retry) // what failed may be mended
	}
	w.mu.Unlock()
	// A list may repeat a pod that did not change.
	if !same {
		w.wakeUp()
	}
}

// setMirrorUID gives the worker of a static pod the uid under which the API server
// shows the pod.
func (w *worker) setMirrorUID(uid types.UID) {
	w.mu.Lock()
	was := w.mirrorUID
	w.mirrorUID = uid
	w.mu.Unlock()
	if was != uid {
		w.wakeUp()
	}
}

// markDeleted says that the pod's API object is gone: the worker ends the pod and
// then itself.
func (w *worker) markDeleted() {
	w.mu.Lock()
	was := w.deleted
	w.deleted = true
	w.mu.Unlock()
	if !was {
		w.wakeUp()
	}
}

// runtimeChanged says that the runtime may have something new of the pod.
func (w *worker) runtimeChanged() {
	w.mu.Lock()
	w.dirty = true
	w.mu.Unlock()
	w.wakeUp()
}

// contentChanged says that config maps or secrets may have changed. A container
// that waits for one is tried again at once; a pull that failed only where the pod has
// pull secrets, and it waits on if these are the same.
func (w *worker) contentChanged() {
	w.mu.Lock()
	w.mem.Stale = true
	for name := range w.mem.Retry {
		if len(w.pod.Spec.ImagePullSecrets) > 0 || !w.pulls.Waits(name) {
			delete(w.mem.Retry, name)
		}
	}
	w.mu.Unlock()
	w.wakeUp()
}

// podWithResources is the pod if it holds resources of the node; else nil.
func (w *worker) podWithResources() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.pod.Name == "", w.mem.TornDown:
		return nil
	case w.alive:
		return w.heldPodLocked() // also one that is being stopped, or that others have set to Failed
	case w.rejected != nil, plan.IsTerminal(w.pod.Status.Phase):
		return nil
	}
	return w.heldPodLocked()
}

// run takes the pod from first sight to its end, or until ctx ends.
func (w *worker) run(ctx context.Context) {
	defer w.probes.Stop()
	w.loadLastReport(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var stepDone <-chan struct{}
		if w.current != nil {
			stepDone = w.current.done
		}
		select {
		case <-ctx.Done():
			w.endStep()
			return
		case <-stepDone:
			w.endStep()
		case <-w.wake:
		case <-timer.C:
		}
		began, what := time.Now(), w.passKind()
		next, done := w.syncPod(ctx)
		w.a.metrics.PodSynced(what, time.Since(began))
		if done {
			return
		}
		timer.Reset(next)
	}
}

// endStep cancels and joins the step under way, if any.
func (w *worker) endStep() {
	if w.current == nil {
		return
	}
	select {
	case <-w.current.done:
	default:
		if w.current.starts {
			w.settleUntil = time.Now().Add(settleTime)
		}
	}
	w.current.cancel()
	<-w.current.done
	w.current = nil
	w.mu.Lock()
	w.dirty = true
	w.mu.Unlock()
}

// syncPod observes, decides, reports and starts a step: the kubelet's function of
// that name. It returns after how long at most it must be called again, and
// whether nothing is left to do.
//
// The report goes out while the step runs, except before volumes are torn down:
// the termination messages in the status are read from them, so that it must be
// durable first.
func (w *worker) syncPod(ctx context.Context) (next time.Duration, done bool) {
	const forever = time.Hour
	end, grace := w.ending()
	if end != w.lastEnding || grace < w.endGrace {
		w.updateMemory(func(m *memory) { m.ClearBackOff(plan.RetryEnd) }) // another ending: what failed is tried at once
	}
	w.lastEnding, w.endGrace = end, grace
	if s := w.current; s != nil {
		// A pod that must end, or end sooner than before, does not wait for a step that
		// was made for something else. A short step is reported as a whole.
		if end > s.ending || end != plan.EndNone && time.Now().Add(grace).Before(s.until) {
			w.endStep()
		} else if quiet := quietStep - time.Since(s.started); quiet > 0 {
			return quiet, false
		}
	}
	// A start that was cut may have taken effect in the runtime meanwhile.
	if !w.settleUntil.IsZero() && !time.Now().Before(w.settleUntil) {
		w.settleUntil = time.Time{}
		w.mu.Lock()
		w.dirty = true
		w.mu.Unlock()
	}
	if err := w.observe(ctx); err != nil {
		if ctx.Err() == nil {
			w.a.log.Debug("cannot observe a pod", "pod", podspec.Title(w.spec()), "err", err)
		}
		wait := min(observeRetry<<min(w.observeFails, 8), observeRetryMax)
		w.observeFails++
		return wait, false
	}
	w.observeFails = 0
	w.probes.Follow(ctx, prober.Situation{Pod: w.spec(), View: w.view, Last: w.last, Ending: end})
	if !w.followResize(end) {
		return reportRetry, false
	}
	s := w.situation(end, grace)
	s.Held, s.HeldUntil = w.followHold(ctx, end, s.Now)
	w.followProgress(s)
	d := plan.Decide(s)
	w.announceBackOffs(d.BackOffs)
	w.backOffs, w.finished = d.BackOffs, d.Finished
	// The final report is no step: it is made here, by the goroutine that reports.
	begins := w.current == nil && len(d.Actions) > 0 && d.Actions[0].Kind != plan.ActReportFinal
	tearsDown := begins && d.Actions[0].Kind == plan.ActTearDown
	if begins && !tearsDown {
		w.startStep(ctx, s, d) // the report below goes out meanwhile
	}
	if !w.report(ctx, s) && !(tearsDown && w.freesDisk(s)) {
		return reportRetry, false
	}
	if tearsDown {
		w.startStep(ctx, s, d) // the status is durable: what it was read from may go
	}
	next = forever
	if !w.deadAfter.IsZero() {
		next = min(next, max(time.Until(w.deadAfter), 0))
	}
	switch {
	case w.current == nil && len(d.Actions) == 0 && w.isReplaced():
		return forever, true
	case w.current != nil:
		return min(next, longStepInterval), false
	case d.Done:
		return forever, s.Ending == plan.EndGone
	case len(d.Actions) > 0:
		if !w.reportStatus(ctx, plan.PodStatus(w.facts(s, true))) {
			return reportRetry, false
		}
		w.updateMemory(func(m *memory) { m.finalReported = true })
		return 0, false
	}
	if !d.Wake.IsZero() {
		next = min(next, time.Until(d.Wake))
	}
	if !w.settleUntil.IsZero() {
		next = min(next, time.Until(w.settleUntil))
	}
	if at := w.resizeWake(); !at.IsZero() {
		next = min(next, time.Until(at))
	}
	if s.Ending == plan.EndNone && !s.RefreshAt.IsZero() {
		next = min(next, time.Until(s.RefreshAt))
	}
	return max(next, time.Millisecond), false
}

// startStep starts the actions of a decision in a goroutine, which endStep joins.
func (w *worker) startStep(ctx context.Context, s plan.Situation, d plan.Decision) {
	ctx, cancel := context.WithCancel(ctx)
	if d.Finished && s.Ending == plan.EndNone {
		s.Ending = plan.EndFinished
	}
	w.current = &step{
		cancel: cancel, done: make(chan struct{}), ending: s.Ending, starts: plan.StartsProcesses(d.Actions), resizes: plan.Resizes(d.Actions), started: s.Now, until: s.Now.Add(s.Grace),
	}
	if w.current.starts {
		w.mu.Lock()
		w.alive = true // at once: a pod that must end now holds what it has until the step has ended
		w.mu.Unlock()
	}
	done := w.current.done
	go func() {
		defer close(done)
		w.a.actions.Do(ctx, w, s, d)
	}()
}

// Update changes what actions have left for the next decision: the worker is an actions.Owner.
func (w *worker) Update(fn func(*actions.Memory)) {
	w.updateMemory(func(m *memory) { fn(&m.Memory) })
}

// Pulls are the back-offs of the pod's images.
func (w *worker) Pulls() *imagepull.BackOffs { return &w.pulls }

// RejectDevices rejects a pod that cannot have its devices.
func (w *worker) RejectDevices(err error) { w.reject(deviceRejection(err)) }

// updateMemory changes the worker's memory under its mutex.
func (w *worker) updateMemory(fn func(*memory)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn(&w.mem)
}

// spec is the pod as last given. It must not be changed.
func (w *worker) spec() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}
