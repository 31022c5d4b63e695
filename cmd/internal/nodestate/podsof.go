package nodestate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// PodsOf counts pods.
func PodsOf(pods []*corev1.Pod) Pods {
	out := Pods{NotReady: []Pod{}}
	for _, p := range pods {
		out.Total++
		switch {
		case p.Status.Phase == corev1.PodSucceeded:
			out.Finished++
		case p.Status.Phase == corev1.PodFailed:
			out.Finished++
			out.NotReady = append(out.NotReady, notReady(p))
		case PodReady(p):
			out.Ready++
		default:
			out.NotReady = append(out.NotReady, notReady(p))
		}
	}
	slices.SortFunc(out.NotReady, func(a, b Pod) int { return a.Since.Compare(b.Since) })
	out.NotReady = out.NotReady[:min(len(out.NotReady), MaxListed)]
	return out
}

// PodReady reports whether the pod has the condition Ready.
func PodReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// notReady says why a pod is not ready: its own reason, or that of its first container that waits
// or has ended.
func notReady(p *corev1.Pod) Pod {
	out := Pod{Namespace: p.Namespace, Name: p.Name, Phase: string(p.Status.Phase), Reason: p.Status.Reason, Message: p.Status.Message, Since: p.CreationTimestamp.Time}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && !c.LastTransitionTime.IsZero() {
			out.Since = c.LastTransitionTime.Time
		}
	}
	for _, st := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		out.Restarts += int(st.RestartCount)
		switch {
		case out.Reason != "" || st.Ready:
		case st.State.Waiting != nil:
			out.Reason, out.Message = st.State.Waiting.Reason, st.State.Waiting.Message
		case st.State.Terminated != nil && st.State.Terminated.ExitCode != 0:
			out.Reason, out.Message = st.State.Terminated.Reason, st.State.Terminated.Message
		}
	}
	return out
}
