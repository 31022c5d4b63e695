package plan

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// initFailed reports whether an init container failed and its restart policy does
// not let it try again. The pod is then Failed:
// https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#detailed-behavior
func initFailed(s Situation) bool {
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		last := s.View.Latest(c.Name)
		if last != nil && last.State == runtime.ContainerExited && last.ExitCode != 0 && !restarts(s.Pod, c, last.ExitCode, true) {
			return true
		}
	}
	return false
}

// planInit runs the init containers one after the other. Each must succeed before
// the next starts; a sidecar must have started (KEP-753). It reports whether the
// regular containers may run, and whether the pod failed.
//
// Once a regular container has run in this sandbox, initialization is over: init
// containers are not run again, and sidecars that exit are restarted without
// anybody waiting for them.
func planInit(s Situation, d *Decision) (initialized, failed bool) {
	if initFailed(s) {
		return false, true
	}
	sandbox := s.View.Sandbox().ID
	through := slices.ContainsFunc(s.Pod.Spec.Containers, func(c corev1.Container) bool { return s.View.latestIn(sandbox, c.Name) != nil })
	// Init containers run in order. So all those before the last one that ran have
	// succeeded, also those whose container was removed since.
	reached := -1
	for i := range s.Pod.Spec.InitContainers {
		if s.View.latestIn(sandbox, s.Pod.Spec.InitContainers[i].Name) != nil {
			reached = i
		}
	}
	initialized = true
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		last := s.View.latestIn(sandbox, c.Name)
		side := podspec.IsSidecar(c)
		switch {
		case last == nil && (through || i < reached) && !side:
			continue
		case last == nil:
			startOrWait(s, d, c, s.View.Latest(c.Name))
			initialized = initialized && through
		case last.State == runtime.ContainerRunning && side:
			if !keepRunning(s, d, c, last, sandbox) || !s.Health[last.ID].Started {
				initialized = initialized && through
			}
		case last.State == runtime.ContainerRunning:
			initialized = through
		case last.State == runtime.ContainerExited && last.ExitCode == 0 && !side:
			continue
		case last.State == runtime.ContainerExited && (through && !side):
			continue
		default:
			startOrWait(s, d, c, last)
			initialized = initialized && through
		}
		if !initialized {
			return false, false
		}
	}
	return initialized, false
}
