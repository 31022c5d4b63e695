package edged

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/shutdown"
)

// observe refreshes the worker's view of the runtime, if something may have
// changed there.
func (w *worker) observe(ctx context.Context) error {
	w.mu.Lock()
	dirty, pod := w.dirty, w.pod
	w.dirty = false
	w.mu.Unlock()
	if !dirty {
		return nil
	}
	v, err := w.reader.Read(ctx, pod)
	if err != nil {
		w.mu.Lock()
		w.dirty = true
		w.mu.Unlock()
		return err
	}
	w.view = v
	if n := len(v.Sandboxes); n > 0 && w.last == nil {
		if first := v.Sandboxes[n-1].Created; first.Before(w.start) && !first.IsZero() {
			w.start = first // no start was ever reported; the runtime remembers it
		}
	}
	return nil
}

// situation gathers what plan.Decide looks at.
func (w *worker) situation(end plan.Ending, grace time.Duration) plan.Situation {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	was := w.alive
	w.alive = w.view.Alive() || w.starting() || now.Before(w.settleUntil)
	if was && !w.alive && w.rejected != nil {
		w.a.noteFreed() // a critical pod may wait for the room
	}
	w.emptied = !w.alive && w.mem.TornDown && len(w.view.Containers) == 0
	maps.DeleteFunc(w.mem.Stopped, func(id string, _ bool) bool { return w.view.SandboxByID(id) == nil })
	// Tokens that are due make the volumes stale, as a changed config map does.
	s := plan.Situation{
		Pod: w.allocatedLocked(), Now: now, View: w.view, Ending: end, Grace: grace, Actuated: w.actuatedLocked(), ResizePod: w.mem.Resize.Group,
		Stopped: maps.Clone(w.mem.Stopped), SetUp: w.mem.SetUp, Stale: w.mem.Stale || !w.mem.Refresh.IsZero() && !now.Before(w.mem.Refresh), RefreshAt: w.mem.Refresh,
		TornDown: w.mem.TornDown, UsesClaims: w.a.usesClaims(w.pod.UID), LogsRemoved: w.mem.LogsRemoved, FinalReported: w.mem.finalReported, GoneReported: w.mem.GoneReported, Settled: w.settleUntil, GraceLimit: w.graceLimit,
		Evicted:         w.graceLimit != nil && (w.rejected == nil || w.rejected.Reason != shutdown.Reason) || w.last != nil && w.last.Phase == corev1.PodFailed && w.last.Reason == eviction.Reason,
		RestartAllUntil: w.mem.RestartAllUntil,
		Retry:           maps.Clone(w.mem.Retry), MaxBackOff: w.a.cfg.MaxContainerRestartPeriod, Health: make(map[string]plan.Health), LastStatuses: make(map[string]*corev1.ContainerStatus),
	}
	for _, c := range w.view.Containers {
		if c.State == runtime.ContainerRunning {
			h := w.probes.Health(c.ID)
			h.Restart = w.restartLocked(c)
			s.Health[c.ID] = h
		}
	}
	for _, list := range [][]corev1.Container{w.pod.Spec.InitContainers, w.pod.Spec.Containers} {
		for _, c := range list {
			s.LastStatuses[c.Name] = plan.FindStatus(w.last, c.Name)
		}
	}
	for _, c := range w.pod.Spec.EphemeralContainers {
		s.LastStatuses[c.Name] = plan.FindStatus(w.last, c.Name)
	}
	return s
}

// ending says whether and how the pod must end, and how long that may take. A pod
// past its activeDeadlineSeconds fails here:
// https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#detailed-behavior
func (w *worker) ending() (plan.Ending, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	grace, specGrace := podspec.GracePeriod(w.pod), podspec.SpecGracePeriod(w.pod)
	if w.graceLimit != nil {
		grace, specGrace = min(grace, *w.graceLimit), min(specGrace, *w.graceLimit)
	}
	isOver := plan.IsTerminal(w.pod.Status.Phase) || w.last != nil && plan.IsTerminal(w.last.Phase)
	w.deadAfter = time.Time{}
	if s := w.pod.Spec.ActiveDeadlineSeconds; s != nil && w.rejected == nil && !isOver && !w.finished {
		w.deadAfter = deadlineStart(w.pod, w.start, w.created).Add(time.Duration(*s) * time.Second)
		if !time.Now().Before(w.deadAfter) {
			w.rejected, w.deadAfter = &plan.Rejection{Reason: plan.ReasonDeadlineExceeded, Message: "Pod was active on the node longer than the specified deadline"}, time.Time{}
		}
	}
	switch {
	case w.deleted:
		return plan.EndGone, grace
	case w.pod.DeletionTimestamp != nil:
		return plan.EndDeleted, grace
	case w.rejected != nil, isOver:
		return plan.EndFinished, specGrace
	}
	return plan.EndNone, grace
}

// deadlineStart is when a pod's active deadline begins to count. A machine without
// a clock battery stamps its starts in 1970, but no pod starts before it was
// created. Nor did it start after now, which is what a clock that was set back
// says.
func deadlineStart(pod *corev1.Pod, start, now time.Time) time.Time {
	if made := pod.CreationTimestamp.Time; start.Before(made) {
		start = made
	}
	if start.After(now) {
		return now
	}
	return start
}

// isReplaced reports whether a new worker is to start the pod again.
func (w *worker) isReplaced() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.replaced && w.mem.TornDown
}

// starting reports whether the step under way may make processes of the pod run.
func (w *worker) starting() bool { return w.current != nil && w.current.starts }
