package edged

import (
	"context"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/admission"
	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/nodestatus"
	"github.com/edgekit/edgekit/edged/runtime"
)

// admitLocked decides whether the node takes a pod besides those that it has. The
// scheduler has decided before, but not for pods that name their node, and not
// always with the newest facts. It needs a.mu.
func (a *Agent) admitLocked(ctx context.Context, pod *corev1.Pod) *plan.Rejection {
	if pod.DeletionTimestamp != nil || plan.IsTerminal(pod.Status.Phase) || pod.Name == "" {
		return nil
	}
	f := admission.Request{
		Pod: pod, Allocatable: a.node.Allocatable(), Sysctls: a.cfg.AllowedSysctls, Labels: nodestatus.Labels(a.cfg.NodeName, a.cfg.Labels), Features: a.node.Features(),
		PodLimits: a.limitsPods() && a.groups.Load().Limited(),
	}
	f.Pressures, _ = a.evictor.Pressures()
	for _, w := range a.workers {
		if p := w.podWithResources(); p != nil && p.UID != pod.UID {
			f.Others = append(f.Others, p)
		}
	}
	if admission.WantsAppArmor(pod) {
		f.AppArmor = appArmorEnabled()
	}
	if reader, ok := a.cfg.Objects.(NodeReader); ok && !admission.PlacedByScheduler(pod) {
		node, err := reader.OwnNode(ctx)
		if err != nil && !notfound.Is(err) && ctx.Err() == nil {
			a.log.Warn("cannot read this node's Node; pods are judged by the labels of this agent alone", "err", err)
		}
		f.Node = node
	}
	r := f.Decide()
	if r != nil {
		r.Message = admission.MessagePrefix + r.Message
	}
	return r
}

// roomLocked says why the node has no room for the resources that the spec of one of
// its pods asks for, besides the others; nil if it has. It needs a.mu.
func (a *Agent) roomLocked(pod *corev1.Pod) *plan.Rejection {
	f := admission.Request{Pod: pod, Allocatable: a.node.Allocatable()}
	for _, w := range a.workers {
		if p := w.podWithResources(); p != nil && p.UID != pod.UID {
			f.Others = append(f.Others, p)
		}
	}
	return f.Room()
}

// declaredFeatures are the features of Kubernetes by which the API server and the
// scheduler decide what they may ask of the node.
func (a *Agent) declaredFeatures() []string {
	if _, ok := a.cfg.Runtime.(runtime.Resizer); !ok || a.cfg.PodCgroups == Off {
		return nil
	}
	return []string{"InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers"}
}

// appArmorEnabled asks the kernel whether it enforces AppArmor profiles.
func appArmorEnabled() bool {
	text, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(text), "Y")
}
