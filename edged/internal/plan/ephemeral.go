package plan

import (
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// planEphemeral starts the ephemeral containers that never ran. They are added to
// a running pod to look into it (KEP-277, kubectl debug). Each is started once,
// whatever the restart policy and however far the pod has come, and never again;
// the pod does not wait for it.
func planEphemeral(s Situation, d *Decision) {
	for i := range s.Pod.Spec.EphemeralContainers {
		c := podspec.EphemeralContainer(s.Pod, i)
		if st := s.LastStatuses[c.Name]; st != nil && (st.State.Running != nil || st.State.Terminated != nil || st.LastTerminationState.Terminated != nil) {
			continue // it ran, also where the runtime has forgotten it
		}
		last := s.View.Latest(c.Name)
		if last != nil && last.State != runtime.ContainerCreated {
			continue
		}
		startOrWait(s, d, c, last)
	}
}
