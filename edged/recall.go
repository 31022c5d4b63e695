package edged

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// recall reads what a former Agent last said of the pod: what the cloud knows
// of it, and sent with the pod, may be older.
func (w *worker) recall(ctx context.Context) {
	defer w.recallWaiting()
	reports, ok := w.a.cfg.Reports.(Recaller)
	w.mu.Lock()
	pod, gone := w.pod, w.gone
	w.mu.Unlock()
	if !ok || gone || pod.Name == "" {
		return
	}
	said, err := reports.LastPodStatus(ctx, pod)
	if err != nil {
		if !notfound.Is(err) && ctx.Err() == nil {
			w.a.log.Warn("cannot recall the last report of a pod", "pod", podspec.Title(pod), "err", err)
		}
		return
	}
	w.last = recalled(said, w.last)
	w.remember(func(m *memory) { m.expired = plan.TokenExpired(w.last) })
	if t := w.last.StartTime; t != nil {
		w.start = t.Time
	}
}

// recalled is the newer of what this node said of a pod and of what the cloud
// has, which may be nil. A condition that somebody changed in the cloud since
// is left out: it begins anew, and is then reported again.
func recalled(said, cloud *corev1.PodStatus) *corev1.PodStatus {
	if cloud == nil {
		return said
	}
	if plan.IsTerminal(cloud.Phase) && !plan.IsTerminal(said.Phase) {
		return cloud
	}
	said.Conditions = slices.DeleteFunc(said.Conditions, func(c corev1.PodCondition) bool {
		return slices.ContainsFunc(cloud.Conditions, func(o corev1.PodCondition) bool {
			return o.Type == c.Type && o.Status != c.Status && o.LastTransitionTime.After(c.LastTransitionTime.Time)
		})
	})
	return said
}

// recallWaiting takes over why containers did not start: they are said to wait
// for that until the next try says something else.
func (w *worker) recallWaiting() {
	if w.last == nil {
		return
	}
	for _, list := range [][]corev1.ContainerStatus{w.last.InitContainerStatuses, w.last.ContainerStatuses, w.last.EphemeralContainerStatuses} {
		for _, c := range list {
			if why := c.State.Waiting; why != nil && !slices.Contains([]string{"", plan.ReasonContainerCreating, plan.ReasonPodInitializing, plan.ReasonCrashLoopBackOff}, why.Reason) {
				w.remember(func(m *memory) { m.waiting[c.Name] = plan.Waiting{Reason: why.Reason, Message: why.Message} })
			}
		}
	}
}
