package edged

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/allocatable"
	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// cgroupInterval is how often the cgroups of the node are brought to what they should
// be, also without cause: the kubelet's periodicQOSCgroupUpdateInterval, and its pause
// after the limits of all pods could not be set.
const cgroupInterval = time.Minute

// The events about the limits of all pods; the kubelet's.
const (
	eventEnforced    = "NodeAllocatableEnforced"
	eventNotEnforced = "FailedNodeAllocatableEnforcement"
)

// limitsPods reports whether this agent makes the cgroups of pods and limits them.
func (a *Agent) limitsPods() bool { return a.cfg.PodCgroups == On && a.ownGroups.Load() }

// kickCgroups has the groups of the classes follow a change of the pods soon.
func (a *Agent) kickCgroups() {
	select {
	case a.cgroupsDirty <- struct{}{}:
	default:
	}
}

// keepCgroups keeps the cgroups above those of the pods, until ctx ends: it limits
// all pods together, and divides the CPU between the classes.
func (a *Agent) keepCgroups(ctx context.Context) {
	if !a.limitsPods() {
		return
	}
	enforced := false
	var failure string
	var last []allocatable.Tier
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			last = nil // what others changed is set back
			timer.Reset(cgroupInterval)
		case <-a.cgroupsDirty:
		}
		var err error
		if !enforced {
			err = a.enforceAllocatable()
			enforced = err == nil
		}
		tiers := allocatable.Tiers(a.heldPods(), allocatable.Options{CgroupV2: a.groups.Load().V2(), TieredMemory: a.policy.TieredMemory})
		if !reflect.DeepEqual(tiers, last) {
			tierErr := a.setTiers(tiers)
			if err = errors.Join(err, tierErr); tierErr == nil {
				last = tiers
			}
		}
		if text := fmt.Sprint(err); err != nil && text != failure {
			a.log.Warn("cannot limit pods as a whole; they run without", "err", err)
			failure = text
		} else if err == nil {
			failure = ""
		}
	}
}

// setTiers sets the limits of the groups of the classes.
func (a *Agent) setTiers(tiers []allocatable.Tier) error {
	var errs []error
	sizes := a.groups.Load().HugePageSizes()
	for _, t := range tiers {
		l := t.Limits
		// Pods have limits of huge pages of their own: the groups above them have none.
		if len(sizes) > 0 && t.Class != corev1.PodQOSGuaranteed {
			l.HugePages = make(map[string]uint64)
			for _, size := range sizes {
				l.HugePages[size] = 1 << 62
			}
		}
		errs = append(errs, a.groups.Load().SetUpTier(t.Class, l))
	}
	return errors.Join(errs...)
}

// enforceAllocatable limits all pods together to what the node has, less what is
// reserved, and the daemons to what is reserved for them, where that is asked for. It
// says in an event what came of it.
func (a *Agent) enforceAllocatable() error {
	r, groups := a.cfg.Resources, a.groups.Load()
	reserved := a.cfg.reserved()
	if !r.enforces(EnforcePods) {
		reserved = nil
	}
	err := groups.SetUpNode(allocatable.Pods(a.machine(), reserved))
	if err == nil {
		a.events.Node(corev1.EventTypeNormal, eventEnforced, "Updated Node Allocatable limit across pods")
	} else {
		a.events.Node(corev1.EventTypeWarning, eventNotEnforced, fmt.Sprintf("Failed to update Node Allocatable Limits: %v", err))
	}
	for _, d := range []struct {
		whole, compressible Enforcement
		name, group         string
		list                corev1.ResourceList
	}{
		{EnforceSystemReserved, EnforceSystemReservedCompressible, "System", r.SystemReservedCgroup, r.SystemReserved},
		{EnforceKubeReserved, EnforceKubeReservedCompressible, "Kube", r.KubeReservedCgroup, r.KubeReserved},
	} {
		if !r.enforces(d.whole) && !r.enforces(d.compressible) {
			continue
		}
		failure := groups.UpdateGroup(d.group, allocatable.Daemons(d.list, allocatable.Options{CgroupV2: groups.V2(), Compressible: r.enforces(d.compressible)}))
		if failure == nil {
			a.events.Node(corev1.EventTypeNormal, eventEnforced, fmt.Sprintf("Updated limits on %s reserved cgroup %s", strings.ToLower(d.name), d.group))
			continue
		}
		a.events.Node(corev1.EventTypeWarning, eventNotEnforced, fmt.Sprintf("Failed to enforce %s Reserved Cgroup Limits on %q: %v", d.name, d.group, failure))
		err = errors.Join(err, failure)
	}
	return err
}

// machine is what the node has, with the number of processes that the kernel lets
// there be.
func (a *Agent) machine() corev1.ResourceList {
	list := a.node.Capacity().DeepCopy()
	most := int64(0)
	for _, file := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && (most == 0 || n < most) {
			most = n
		}
	}
	if most > 0 && list != nil {
		list[allocatable.PIDs] = *resource.NewQuantity(most, resource.DecimalSI)
	}
	return list
}

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
	if a.cfg.Resources.FailSwapOn && swapTotal() > 0 {
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

// swapTotal is the swap of the machine in bytes; 0 if that cannot be read.
func swapTotal() int64 {
	memory, err := hostinfo.Fields("/proc/meminfo")
	if err != nil {
		return 0
	}
	return memory["SwapTotal:"] << 10
}

// nodeFacts is what of the node's state goes into the configuration of a
// container.
func (a *Agent) nodeFacts() podspec.Node {
	groups := a.groups.Load()
	if groups == nil { // the runtime has not answered yet
		groups = cgroup.New(cgroup.Config{})
	}
	return podspec.Node{
		Capacity: a.node.Capacity(), Allocatable: a.node.Allocatable(), Features: a.node.Features(), CgroupV2: groups.V2(),
		SwapLimited: groups.SwapLimited(), Swap: swapTotal(), HugePageSizes: groups.HugePageSizes(),
	}
}
