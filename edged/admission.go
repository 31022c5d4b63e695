package edged

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/admission"
	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/internal/nodecgroups"
	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/nodestatus"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/shutdown"
)

// The kubelet's words about a pod that ends for a critical one.
const (
	reasonPreempting     = "Preempting"
	messagePreempted     = "Preempted in order to admit critical pod"
	disruptionPreemption = "Pod was preempted by Kubelet to accommodate a critical pod."
)

// admitLocked decides whether the node takes a pod besides those that it has. The
// scheduler has decided before, but not for pods that name their node, and not
// always with the newest facts. It needs a.mu.
func (a *Agent) admitLocked(ctx context.Context, pod *corev1.Pod) *plan.Rejection {
	if pod.DeletionTimestamp != nil || plan.IsTerminal(pod.Status.Phase) || pod.Name == "" {
		return nil
	}
	if a.shuttingDown() {
		return &plan.Rejection{Reason: shutdown.RejectReason, Message: admission.MessagePrefix + shutdown.RejectMessage}
	}
	r := a.requestLocked(ctx, pod).Decide()
	if r != nil {
		r.Message = admission.MessagePrefix + r.Message
	}
	return r
}

// requestLocked is all that admission looks at for a pod. It needs a.mu.
func (a *Agent) requestLocked(ctx context.Context, pod *corev1.Pod) admission.Request {
	f := admission.Request{
		Pod: pod, Others: a.holdersLocked(pod), Allocatable: a.allocatableFor(pod), Sysctls: a.cfg.AllowedSysctls, Labels: nodestatus.Labels(a.cfg.NodeName, a.cfg.Labels), Features: a.node.Features(),
		PodLimits: a.groups.LimitPods() && a.groups.Load().Limited(),
	}
	f.Pressures, _ = a.evictor.Pressures()
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
	return f
}

// preemptLocked makes room for a critical pod that does not fit: it ends pods that yield.
// It reports whether the pod must wait for those; it is asked again when one of them has
// ended. Meanwhile the room is the pod's: see requestLocked. It needs a.mu.
func (a *Agent) preemptLocked(ctx context.Context, pod *corev1.Pod) bool {
	delete(a.preempting, pod.UID)
	if pod.DeletionTimestamp != nil || plan.IsTerminal(pod.Status.Phase) || pod.Name == "" || !admission.IsCritical(pod) || a.shuttingDown() {
		return false
	}
	f := a.requestLocked(ctx, pod)
	// What ends already counts as gone: it is waited for below.
	f.Others = slices.DeleteFunc(f.Others, func(o *corev1.Pod) bool {
		w := a.workers[o.UID]
		return w != nil && w.yields()
	})
	victims, rejected := f.Preempt()
	if rejected != nil {
		return false
	}
	for _, victim := range victims {
		if w := a.workers[victim.UID]; w != nil && w.preempt() {
			a.events.Pod(w.spec(), corev1.EventTypeWarning, reasonPreempting, messagePreempted)
			a.log.Info("a pod ends so that a critical one has room", "pod", podspec.Title(victim), "critical", podspec.Title(pod))
		}
	}
	f.Others = a.holdersLocked(pod) // a victim that did not run has left already
	if f.Room() == nil {
		return false
	}
	a.preempting[pod.UID] = pod
	return true
}

// preempt has the pod become Failed with the reason Preempting, within its own grace
// period. It reports false where the pod has ended already.
func (w *worker) preempt() bool {
	return w.endFor(&plan.Rejection{Reason: reasonPreempting, Message: messagePreempted, Disrupts: true, Disruption: disruptionPreemption}, nil)
}

// yields reports whether the node has made the pod end because others need what it holds.
func (w *worker) yields() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rejected != nil && w.rejected.Disrupts
}

// holdersLocked are the other pods that hold resources of the node, and the critical ones
// for which others are ending. It needs a.mu.
func (a *Agent) holdersLocked(pod *corev1.Pod) []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range a.workers {
		if p := w.podWithResources(); p != nil && p.UID != pod.UID {
			out = append(out, p)
		}
	}
	for uid, p := range a.preempting {
		if uid != pod.UID && a.workers[uid] == nil {
			out = append(out, p)
		}
	}
	return out
}

// roomLocked says why the node has no room for the resources that the spec of one of
// its pods asks for, besides the others; nil if it has. It needs a.mu.
func (a *Agent) roomLocked(pod *corev1.Pod) *plan.Rejection {
	return admission.Request{Pod: pod, Others: a.holdersLocked(pod), Allocatable: a.allocatableFor(pod)}.Room()
}

// declaredFeatures are the features of Kubernetes by which the API server and the
// scheduler decide what they may ask of the node.
func (a *Agent) declaredFeatures() []string {
	var resize []string
	if _, ok := a.cfg.Runtime.(runtime.Resizer); ok && a.cfg.PodCgroups == On {
		resize = []string{"InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers"}
	}
	return append(resize, "RestartAllContainersOnContainerExits") // sorted
}

// appArmorEnabled asks the kernel whether it enforces AppArmor profiles.
func appArmorEnabled() bool {
	text, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(text), "Y")
}

// newNodeCgroups makes what keeps the cgroups above those of the pods.
func (a *Agent) newNodeCgroups() *nodecgroups.Keeper {
	r := a.cfg.Resources
	cfg := nodecgroups.Config{
		Groups: a.groups.Load, Pods: a.heldPods, Machine: a.machine, TieredMemory: a.policy.TieredMemory, Event: a.events.Node, Logger: a.log,
	}
	if r.enforces(EnforcePods) {
		cfg.Reserved = a.cfg.reserved()
	}
	add := func(whole, compressible Enforcement, d nodecgroups.Daemon) {
		if d.Compressible = r.enforces(compressible); d.Compressible || r.enforces(whole) {
			cfg.Daemons = append(cfg.Daemons, d)
		}
	}
	add(EnforceSystemReserved, EnforceSystemReservedCompressible, nodecgroups.Daemon{Title: "System", Group: r.SystemReservedCgroup, Reserved: r.SystemReserved})
	add(EnforceKubeReserved, EnforceKubeReservedCompressible, nodecgroups.Daemon{Title: "Kube", Group: r.KubeReservedCgroup, Reserved: r.KubeReserved})
	return nodecgroups.New(cfg)
}

// machine is what the node has, processes included.
func (a *Agent) machine() corev1.ResourceList { return nodecgroups.Machine(a.node.Capacity()) }

// heldPods are the pods that hold resources of the node.
func (a *Agent) heldPods() []*corev1.Pod {
	var out []*corev1.Pod
	a.eachWorker(func(w *worker) {
		if p := w.podWithResources(); p != nil {
			out = append(out, p)
		}
	})
	return out
}

// checkMachine says why the agent must not run on this machine as it is configured;
// nil if it may.
func (a *Agent) checkMachine() error {
	if a.cfg.Resources.FailSwapOn && hostinfo.SwapTotal() > 0 {
		return errors.New("edged: running with swap on is not supported with Config.Resources.FailSwapOn (--fail-swap-on): disable swap, or leave that out")
	}
	machine := a.machine()
	for name, q := range a.cfg.reserved() {
		if have, ok := machine[name]; ok && have.Cmp(q) < 0 {
			return fmt.Errorf("edged: Config.Reserved and Config.Resources (--system-reserved, --kube-reserved): %s of %s is reserved, and the machine has %s: reserve less", q.String(), name, have.String())
		}
	}
	return nil
}
