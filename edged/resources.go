package edged

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/cgroup"
)

// The kernel's units and bounds for cpu.
const (
	cpuPeriod    = 100_000 // microseconds
	minQuota     = 1_000
	minShares    = 2
	maxShares    = 262_144
	sharesPerCPU = 1_024
)

func shares(cpu resource.Quantity) int64 {
	return min(max(cpu.MilliValue()*sharesPerCPU/1000, minShares), maxShares)
}

func quota(cpu resource.Quantity) int64 {
	if cpu.IsZero() {
		return 0
	}
	return max(cpu.MilliValue()*cpuPeriod/1000, minQuota)
}

// containerResources turns requests and limits into what the kernel knows.
// A request that is not set is as large as its limit.
func containerResources(pod *corev1.Pod, c *corev1.Container, memory int64, v2 bool) Resources {
	cpu, limited := c.Resources.Requests[corev1.ResourceCPU]
	if !limited {
		cpu = c.Resources.Limits[corev1.ResourceCPU]
	}
	limit, memLimit := c.Resources.Limits[corev1.ResourceCPU], c.Resources.Limits[corev1.ResourceMemory]
	r := Resources{
		CPUShares: shares(cpu), CPUQuota: quota(limit), CPUPeriod: cpuPeriod,
		Memory: memLimit.Value(), OOMScoreAdj: oomScore(pod, c, memory),
	}
	if v2 {
		r.MemorySwap = r.Memory                                // no swap for what has a limit
		r.Unified = map[string]string{"memory.oom.group": "1"} // a container dies as a whole
	}
	for name, q := range c.Resources.Limits {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			if r.HugePages == nil {
				r.HugePages = make(map[string]uint64)
			}
			r.HugePages[pageName(size)] = uint64(max(q.Value(), 0))
		}
	}
	return r
}

// pageName writes a page size as the kernel's cgroup files do: 2Mi is "2MB".
func pageName(size string) string { return strings.TrimSuffix(size, "i") + "B" }

// oomScore says how soon the kernel should choose the container when memory
// runs out: Guaranteed pods last, BestEffort first, and between them by how
// little of the node's memory they have asked for. The numbers are Kubernetes'.
func oomScore(pod *corev1.Pod, c *corev1.Container, capacity int64) int64 {
	const guaranteed, bestEffort = -997, 1000
	critical := pod.Spec.Priority != nil && *pod.Spec.Priority >= 2_000_000_000
	switch qosClass(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteed
	case corev1.PodQOSBestEffort:
		if critical {
			return guaranteed
		}
		return bestEffort
	}
	if critical {
		return guaranteed
	}
	request := c.Resources.Requests[corev1.ResourceMemory]
	if capacity <= 0 {
		return bestEffort - 1
	}
	score := 1000 - 1000*request.Value()/capacity
	return min(max(score, 1000+guaranteed), bestEffort-1)
}

// podRequest is what the pod as a whole asks for: the sum over its containers
// and sidecars, or its largest init container if that is more, with overhead.
func podRequest(pod *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	return podSum(pod, func(r corev1.ResourceRequirements) resource.Quantity { return r.Requests[name] }, name)
}

func podSum(pod *corev1.Pod, of func(corev1.ResourceRequirements) resource.Quantity, name corev1.ResourceName) resource.Quantity {
	var sum, sidecars, peak resource.Quantity
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		q := of(c.Resources).DeepCopy()
		if restartable(c) {
			sidecars.Add(q)
			continue
		}
		q.Add(sidecars)
		if q.Cmp(peak) > 0 {
			peak = q
		}
	}
	for i := range pod.Spec.Containers {
		sum.Add(of(pod.Spec.Containers[i].Resources))
	}
	sum.Add(sidecars)
	if peak.Cmp(sum) > 0 {
		sum = peak
	}
	sum.Add(pod.Spec.Overhead[name])
	return sum
}

// podLimits bounds the pod's cgroup: shares always, quota and memory only if
// every container has such a limit.
func podLimits(pod *corev1.Pod) cgroup.Limits {
	l := cgroup.Limits{CPUShares: shares(podRequest(pod, corev1.ResourceCPU)), CPUPeriod: cpuPeriod}
	limit := func(name corev1.ResourceName) resource.Quantity {
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			if q := c.Resources.Limits[name]; q.IsZero() {
				return resource.Quantity{}
			}
		}
		return podSum(pod, func(r corev1.ResourceRequirements) resource.Quantity { return r.Limits[name] }, name)
	}
	l.CPUQuota = quota(limit(corev1.ResourceCPU))
	if l.CPUQuota == 0 {
		l.CPUPeriod = 0
	}
	memory := limit(corev1.ResourceMemory)
	l.Memory = memory.Value()
	return l
}
