package edged

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/plan"
)

// The names of a TraceStep.
const (
	TraceVolumes = "volumes" // the pod's volumes and cgroup are set up
	TraceSandbox = "sandbox" // its sandbox is created and started
	TraceStart   = "start"   // a container is created and started; TraceImage lies within
	TraceImage   = "image"   // an image is brought to the node, unless it is there
	TraceStop    = "stop"    // a container, or the pod with its sandbox, is stopped
	TraceRemove  = "remove"  // what is left of a stopped container, sandbox or pod is removed
)

// TraceStep is a part of an agent's work for a pod.
type TraceStep struct {
	Name      string // TraceVolumes and so on
	Container string // the container's name, "" for one of the whole pod
	Image     string // of TraceImage
}

// traceSteps are the steps of the actions that are traced.
var traceSteps = map[plan.ActionKind]string{
	plan.ActSetUp: TraceVolumes, plan.ActCreateSandbox: TraceSandbox, plan.ActStart: TraceStart, plan.ActStartCreated: TraceStart,
	plan.ActKill: TraceStop, plan.ActKillPod: TraceStop, plan.ActStopSandbox: TraceStop,
	plan.ActRemove: TraceRemove, plan.ActRemoveSandbox: TraceRemove, plan.ActTearDown: TraceRemove,
}

// perform performs one action and has it traced.
func (r *execution) perform(ctx context.Context, a plan.Action) error {
	trace := r.w.a.cfg.Trace
	if trace == nil {
		return r.act(ctx, a)
	}
	name, traced := traceSteps[a.Kind]
	if !traced {
		return r.act(ctx, a)
	}
	ctx, end := trace(ctx, r.pod, TraceStep{Name: name, Container: a.Name})
	err := r.act(ctx, a)
	end(err)
	return err
}

// traceImage begins the step TraceImage.
func (r *execution) traceImage(ctx context.Context, container, image string) (context.Context, func(error)) {
	trace := r.w.a.cfg.Trace
	if trace == nil {
		return ctx, noTrace
	}
	return trace(ctx, r.pod, TraceStep{Name: TraceImage, Container: container, Image: image})
}

func noTrace(error) {}

// PodTrace is called when a step of a pod begins. It returns the context of the step and what is called
// when the step has ended, with its error. Both calls come from a goroutine of the pod and must not
// block. The pod must not be changed.
type PodTrace func(ctx context.Context, pod *corev1.Pod, step TraceStep) (context.Context, func(error))
