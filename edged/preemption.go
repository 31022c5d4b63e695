package edged

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/admission"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// The kubelet's words about a pod that ends for a critical one.
const (
	reasonPreempting     = "Preempting"
	messagePreempted     = "Preempted in order to admit critical pod"
	disruptionPreemption = "Pod was preempted by Kubelet to accommodate a critical pod."
)

// preemptLocked makes room for a critical pod that does not fit: it ends pods that yield.
// It reports whether the pod must wait for those; it is asked again when one of them has
// ended. Meanwhile the room is the pod's: see requestLocked. It needs a.mu.
func (a *Agent) preemptLocked(ctx context.Context, pod *corev1.Pod) bool {
	delete(a.preempting, pod.UID)
	if pod.DeletionTimestamp != nil || plan.IsTerminal(pod.Status.Phase) || pod.Name == "" || !admission.IsCritical(pod) || a.shuttingDown() {
		return false
	}
	f := a.requestLocked(ctx, pod)
	// What ends already counts as gone: it is waited for below.
	f.Others = slices.DeleteFunc(f.Others, func(o *corev1.Pod) bool {
		w := a.workers[o.UID]
		return w != nil && w.yields()
	})
	victims, rejected := f.Preempt()
	if rejected != nil {
		return false
	}
	for _, victim := range victims {
		if w := a.workers[victim.UID]; w != nil && w.preempt() {
			a.events.Pod(w.spec(), corev1.EventTypeWarning, reasonPreempting, messagePreempted)
			a.log.Info("a pod ends so that a critical one has room", "pod", podspec.Title(victim), "critical", podspec.Title(pod))
		}
	}
	f.Others = a.holdersLocked(pod) // a victim that did not run has left already
	if f.Room() == nil {
		return false
	}
	a.preempting[pod.UID] = pod
	return true
}

// preempt has the pod become Failed with the reason Preempting, within its own grace
// period. It reports false where the pod has ended already.
func (w *worker) preempt() bool {
	return w.endFor(&plan.Rejection{Reason: reasonPreempting, Message: messagePreempted, Disrupts: true, Disruption: disruptionPreemption}, nil)
}

// yields reports whether the node has made the pod end because others need what it holds.
func (w *worker) yields() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rejected != nil && w.rejected.Disrupts
}
