package main

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
)

// resourceFlags are the settings of how the node divides its CPU, memory, processes
// and swap. They have the names of the kubelet's flags or, where there is none, of
// the KubeletConfiguration.
type resourceFlags struct {
	CgroupsPerQOS           bool              `help:"Make cgroups for all pods, for each class of service and for each pod, and limit them. --no-cgroups-per-qos turns it off; containers keep their own limits." default:"true" negatable:"" name:"cgroups-per-qos"`
	SystemReserved          map[string]string `help:"What pods may not use, for the machine's own daemons: cpu, memory, ephemeral-storage, pid." mapsep:"," placeholder:"cpu=200m,memory=256Mi"`
	KubeReserved            map[string]string `help:"What pods may not use, for edgecore and the container runtime." mapsep:"," placeholder:"cpu=200m,memory=256Mi"`
	EnforceNodeAllocatable  []string          `help:"What is enforced by cgroups: pods, system-reserved, kube-reserved, system-reserved-compressible, kube-reserved-compressible (cpu only), or none." default:"pods" placeholder:"NAME,..."`
	SystemReservedCgroup    string            `help:"Cgroup of the machine's own daemons, for --enforce-node-allocatable: /system or, with systemd, /system.slice." placeholder:"CGROUP"`
	KubeReservedCgroup      string            `help:"Cgroup of edgecore and the container runtime, for --enforce-node-allocatable." placeholder:"CGROUP"`
	PodMaxPids              int64             `help:"How many processes and threads a pod may have. -1: no limit." default:"-1"`
	CPUCFSQuota             bool              `help:"Enforce limits of CPU. --no-cpu-cfs-quota turns it off." default:"true" negatable:"" name:"cpu-cfs-quota"`
	CPUCFSQuotaPeriod       time.Duration     `help:"Period over which limits of CPU are enforced: 1ms to 1s." default:"100ms" name:"cpu-cfs-quota-period"`
	MemoryThrottlingFactor  float64           `help:"On cgroup v2, how far between a container's memory request and limit the kernel begins to throttle it (memory.high): above 0, up to 1. 0: not at all." default:"0"`
	MemoryReservationPolicy string            `help:"On cgroup v2, whether memory requests are protected: None, or TieredReservation (memory.min for Guaranteed pods, memory.low for Burstable ones)." default:"None" enum:"None,TieredReservation"`
	MemorySwapBehavior      string            `help:"Which containers may swap: NoSwap, or LimitedSwap for those of Burstable pods, on cgroup v2." default:"NoSwap" enum:"NoSwap,LimitedSwap" name:"memory-swap-behavior"`
	FailSwapOn              bool              `help:"Refuse to run on a machine with swap." name:"fail-swap-on"`
}

// resources are the settings as the agent takes them. What quantities may be is
// checked there.
func (f *resourceFlags) resources() (edged.Resources, error) {
	out := edged.Resources{
		SystemReservedCgroup: f.SystemReservedCgroup, KubeReservedCgroup: f.KubeReservedCgroup, PodPidsLimit: f.PodMaxPids,
		CPUCFSQuota: toggle(f.CPUCFSQuota), CPUCFSQuotaPeriod: f.CPUCFSQuotaPeriod, MemoryThrottlingFactor: f.MemoryThrottlingFactor,
		MemoryReservation: edged.MemoryReservation(f.MemoryReservationPolicy), SwapBehavior: edged.SwapBehavior(f.MemorySwapBehavior), FailSwapOn: f.FailSwapOn,
	}
	for _, e := range f.EnforceNodeAllocatable {
		out.EnforceNodeAllocatable = append(out.EnforceNodeAllocatable, edged.Enforcement(e))
	}
	var err error
	if out.SystemReserved, err = quantities("system-reserved", f.SystemReserved); err != nil {
		return out, err
	}
	out.KubeReserved, err = quantities("kube-reserved", f.KubeReserved)
	return out, err
}

// quantities reads a list of resources.
func quantities(setting string, texts map[string]string) (corev1.ResourceList, error) {
	var out corev1.ResourceList
	for name, text := range texts {
		q, err := resource.ParseQuantity(text)
		if err != nil {
			return nil, &program.UsageError{Setting: setting, Reason: fmt.Sprintf("%s=%s: want a quantity, such as 200m or 256Mi", name, text)}
		}
		if out == nil {
			out = make(corev1.ResourceList)
		}
		out[corev1.ResourceName(name)] = q
	}
	return out, nil
}
