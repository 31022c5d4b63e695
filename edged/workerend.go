package edged

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

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
