package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AfterBoot is what a pod's last status becomes when the machine has booted since: no
// process of before runs any more, so that no container is ready. How the containers ended
// is left to the first look at the runtime, and so is the phase. It reports whether the
// status changes; one of a pod that is over does not.
func AfterBoot(last *corev1.PodStatus, now time.Time) (corev1.PodStatus, bool) {
	st := *last.DeepCopy()
	if IsTerminal(st.Phase) {
		return st, false
	}
	changed := false
	var names []string
	for _, list := range [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			if c := &list[i]; c.State.Running != nil && (c.Ready || c.Started != nil && *c.Started) {
				c.Ready, c.Started, changed = false, new(bool), true
			}
		}
	}
	for _, c := range st.ContainerStatuses {
		if !c.Ready {
			names = append(names, c.Name)
		}
	}
	for i := range st.Conditions {
		c := &st.Conditions[i]
		switch c.Type {
		case corev1.PodReady, corev1.ContainersReady, corev1.PodReadyToStartContainers:
		default:
			continue
		}
		if c.Status != corev1.ConditionTrue {
			continue
		}
		c.Status, c.LastTransitionTime, changed = corev1.ConditionFalse, metav1.NewTime(now), true
		if c.Type != corev1.PodReadyToStartContainers {
			explainUnready(c, names)
		}
	}
	return st, changed
}
