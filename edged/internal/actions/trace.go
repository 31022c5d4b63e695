package actions

import (
	"context"

	"github.com/edgekit/edgekit/edged/internal/plan"
)

// The names of a Step.
const (
	StepVolumes = "volumes"
	StepSandbox = "sandbox"
	StepStart   = "start"
	StepImage   = "image"
	StepStop    = "stop"
	StepRemove  = "remove"
)

// Step is a part of the work for a pod, for traces.
type Step struct {
	Name      string // StepVolumes and so on
	Container string // the container's name, "" for one of the whole pod
	Image     string // of StepImage
}

// traceSteps are the steps of the actions that are traced.
var traceSteps = map[plan.ActionKind]string{
	plan.ActSetUp: StepVolumes, plan.ActCreateSandbox: StepSandbox, plan.ActStart: StepStart, plan.ActStartCreated: StepStart,
	plan.ActKill: StepStop, plan.ActKillPod: StepStop, plan.ActStopSandbox: StepStop,
	plan.ActRemove: StepRemove, plan.ActRemoveSandbox: StepRemove, plan.ActTearDown: StepRemove,
}

// perform performs one action and has it traced.
func (r *execution) perform(ctx context.Context, a plan.Action) error {
	trace := r.p.cfg.Trace
	if trace == nil {
		return r.act(ctx, a)
	}
	name, traced := traceSteps[a.Kind]
	if !traced {
		return r.act(ctx, a)
	}
	ctx, end := trace(ctx, r.pod, Step{Name: name, Container: a.Name})
	err := r.act(ctx, a)
	end(err)
	return err
}

// traceImage begins the step StepImage.
func (r *execution) traceImage(ctx context.Context, container, image string) (context.Context, func(error)) {
	trace := r.p.cfg.Trace
	if trace == nil {
		return ctx, noTrace
	}
	return trace(ctx, r.pod, Step{Name: StepImage, Container: container, Image: image})
}

func noTrace(error) {}
