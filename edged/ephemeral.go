package edged

import (
	"fmt"

	"github.com/edgekit/edgekit/edged/runtime"

	corev1 "k8s.io/api/core/v1"
)

// Ephemeral containers are added to a pod that runs, to look into it (kubectl
// debug). Each is started once, whatever the pod's restart policy and however
// far the pod has come, and never again; the pod does not wait for it.

// ephemeral is the i-th ephemeral container of the pod in the form of a
// regular one.
func ephemeral(pod *corev1.Pod, i int) *corev1.Container {
	return (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
}

// planEphemeral starts the ephemeral containers that never were.
func planEphemeral(s situation, d *decision) {
	for i := range s.pod.Spec.EphemeralContainers {
		c := ephemeral(s.pod, i)
		if st := s.lastStatuses[c.Name]; st != nil && (st.State.Running != nil || st.State.Terminated != nil || st.LastTerminationState.Terminated != nil) {
			continue // it was, also where the runtime has forgotten it
		}
		last := s.view.latest(c.Name)
		if last != nil && last.State != runtime.ContainerCreated {
			continue
		}
		startOrWait(s, d, c, last)
	}
}

// targetOf is the id of the container whose processes an ephemeral container is
// to see, "" if it names none.
func (r *run) targetOf(name string) (string, error) {
	for i := range r.pod.Spec.EphemeralContainers {
		e := &r.pod.Spec.EphemeralContainers[i]
		if e.Name != name || e.TargetContainerName == "" {
			continue
		}
		target := r.s.view.latest(e.TargetContainerName)
		if target == nil || target.State != runtime.ContainerRunning {
			return "", fmt.Errorf("unable to find target container %q: it does not run", e.TargetContainerName)
		}
		return target.ID, nil
	}
	return "", nil
}

// ephemeralStatus computes the status of an ephemeral container. It is never
// ready, since nothing may depend on it.
func ephemeralStatus(f facts, c *corev1.Container) corev1.ContainerStatus {
	st := containerStatus(f, c, false)
	st.Ready, st.Started = false, nil
	return st
}
