package edged

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/actions"
)

// The names of a TraceStep.
const (
	TraceVolumes = actions.StepVolumes // the pod's volumes and cgroup are set up
	TraceSandbox = actions.StepSandbox // its sandbox is created and started
	TraceStart   = actions.StepStart   // a container is created and started; TraceImage lies within
	TraceImage   = actions.StepImage   // an image is brought to the node, unless it is there
	TraceStop    = actions.StepStop    // a container, or the pod with its sandbox, is stopped
	TraceRemove  = actions.StepRemove  // what is left of a stopped container, sandbox or pod is removed
)

// TraceStep is a part of an agent's work for a pod.
type TraceStep struct {
	Name      string // TraceVolumes and so on
	Container string // the container's name, "" for one of the whole pod
	Image     string // of TraceImage
}

// PodTrace is called when a step of a pod begins. It returns the context of the step and what is called
// when the step has ended, with its error. Both calls come from a goroutine of the pod and must not
// block. The pod must not be changed.
type PodTrace func(ctx context.Context, pod *corev1.Pod, step TraceStep) (context.Context, func(error))
