package edged

import (
	"context"
	"os"
	"strings"

	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/nodestatus"

	corev1 "k8s.io/api/core/v1"
)

// admitLocked decides whether the node takes a pod beside those that it has.
// The scheduler has decided before, but not for pods that name their node, and
// not always with the newest facts. It needs a.mu.
func (a *Agent) admitLocked(ctx context.Context, pod *corev1.Pod) *plan.Rejection {
	if pod.DeletionTimestamp != nil || plan.IsTerminal(pod.Status.Phase) || pod.Name == "" {
		return nil
	}
	f := admission{
		pod: pod, allocatable: a.node.Allocatable(), sysctls: a.cfg.AllowedSysctls, labels: nodestatus.Labels(a.cfg.NodeName, a.cfg.Labels), features: a.node.Features(),
		podLimits: a.cfg.PodCgroups == On && a.groups.Load().Limited(),
	}
	for _, w := range a.workers {
		if p := w.claims(); p != nil && p.UID != pod.UID {
			f.others = append(f.others, p)
		}
	}
	if wantsAppArmor(pod) {
		f.appArmor = appArmorEnabled()
	}
	if reader, ok := a.cfg.Objects.(NodeReader); ok && !placedByScheduler(pod) {
		node, err := reader.OwnNode(ctx)
		if err != nil && !notfound.Is(err) && ctx.Err() == nil {
			a.log.Warn("cannot read this node's Node; pods are judged by the labels of this agent alone", "err", err)
		}
		f.node = node
	}
	r := f.decide()
	if r != nil {
		r.Message = rejectedPrefix + r.Message
	}
	return r
}

// appArmorEnabled asks the kernel whether it enforces AppArmor profiles.
func appArmorEnabled() bool {
	text, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(text), "Y")
}
