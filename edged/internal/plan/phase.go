package plan

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// phase sums up the statuses of a pod's containers, as
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
// defines it. final says that no container will start again: the phase is then
// Succeeded or Failed.
func phase(pod *corev1.Pod, st *corev1.PodStatus, final bool) corev1.PodPhase {
	initialized := hasStarted(st)
	pending := false
	for i := range pod.Spec.InitContainers {
		c, s := &pod.Spec.InitContainers[i], FindStatus(st, pod.Spec.InitContainers[i].Name)
		t := s.State.Terminated
		switch {
		case podspec.IsSidecar(c):
			pending = pending || (s.Started == nil || !*s.Started) && !initialized
		case t != nil && t.ExitCode != 0 && (final || !restarts(pod, c, t.ExitCode, true)):
			return corev1.PodFailed
		case t != nil && t.ExitCode == 0:
		default:
			pending = pending || !initialized
		}
	}
	var running, waits, stopped, succeeded, again int
	for i := range st.ContainerStatuses {
		s := &st.ContainerStatuses[i]
		switch {
		case s.State.Running != nil:
			running++
		case s.State.Terminated != nil:
			stopped++
			if s.State.Terminated.ExitCode == 0 {
				succeeded++
			}
			if j := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == s.Name }); j >= 0 && restarts(pod, &pod.Spec.Containers[j], s.State.Terminated.ExitCode, false) {
				again++
			}
		case s.LastTerminationState.Terminated != nil:
			stopped++
			again++
		default:
			waits++
		}
	}
	switch {
	case final && (stopped != succeeded || waits > 0 || pending):
		return corev1.PodFailed
	case final:
		return corev1.PodSucceeded
	case pending, waits > 0:
		return corev1.PodPending
	case running > 0, again > 0:
		return corev1.PodRunning
	case stopped == succeeded && stopped > 0:
		return corev1.PodSucceeded
	case stopped > 0:
		return corev1.PodFailed
	}
	return corev1.PodPending
}
