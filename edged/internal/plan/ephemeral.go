package plan

import (
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Ephemeral containers are added to a pod that runs, to look into it (kubectl
// debug). Each is started once, whatever the pod's restart policy and however
// far the pod has come, and never again; the pod does not wait for it.

// planEphemeral starts the ephemeral containers that never were.
func planEphemeral(s Situation, d *Decision) {
	for i := range s.Pod.Spec.EphemeralContainers {
		c := podspec.EphemeralContainer(s.Pod, i)
		if st := s.LastStatuses[c.Name]; st != nil && (st.State.Running != nil || st.State.Terminated != nil || st.LastTerminationState.Terminated != nil) {
			continue // it was, also where the runtime has forgotten it
		}
		last := s.View.Latest(c.Name)
		if last != nil && last.State != runtime.ContainerCreated {
			continue
		}
		startOrWait(s, d, c, last)
	}
}
