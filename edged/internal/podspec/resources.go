package podspec

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// The kernel's units and bounds for cpu.
const (
	CPUPeriod       = 100_000 // microseconds
	minQuota        = 1_000
	MinCPUShares    = 2
	MaxCPUShares    = 262_144
	CPUSharesPerCPU = 1_024
)

// CPUShares turns a CPU request into shares of the kernel, 1024 for one CPU.
func CPUShares(cpu resource.Quantity) int64 {
	return min(max(cpu.MilliValue()*CPUSharesPerCPU/1000, MinCPUShares), MaxCPUShares)
}

// CPUQuota turns a CPU limit into microseconds per CPUPeriod; 0 means no limit.
// The kernel takes no quota below one millisecond.
func CPUQuota(cpu resource.Quantity) int64 { return quotaFor(cpu, CPUPeriod) }

// quotaFor is CPUQuota with another period, in microseconds.
func quotaFor(cpu resource.Quantity, period int64) int64 {
	if cpu.IsZero() {
		return 0
	}
	return max(cpu.MilliValue()*period/1000, minQuota)
}

// limitOf is a container's limit: its own or else that of its pod as a whole, so
// that programs which ask how much they may use learn it.
func limitOf(pod *corev1.Pod, c *corev1.Container, name corev1.ResourceName) resource.Quantity {
	if q := c.Resources.Limits[name]; !q.IsZero() {
		return q
	}
	return PodResources(pod).Limits[name]
}

// oomScore says how soon the kernel kills the container when memory runs out:
// Guaranteed pods last, BestEffort pods first, and between them by how little of
// the node's memory they requested.
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior
func oomScore(pod *corev1.Pod, c *corev1.Container, capacity int64) int64 {
	const guaranteed, bestEffort = -997, 1000
	critical := isCritical(pod)
	switch QOSClass(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteed
	case corev1.PodQOSBestEffort:
		// A critical pod (system-cluster-critical, system-node-critical) is killed last.
		if critical {
			return guaranteed
		}
		return bestEffort
	}
	if critical {
		return guaranteed
	}
	request := c.Resources.Requests[corev1.ResourceMemory]
	// The size of the machine is not known: the container goes before Guaranteed ones and
	// after BestEffort ones.
	if capacity <= 0 {
		return bestEffort - 1
	}
	need := request.Value()
	// A sidecar lives as long as the containers that it serves: it is not killed before the
	// one that requests least (KEP-753).
	if IsSidecar(c) {
		need = max(need, leastRequest(pod))
	}
	score := 1000 - 1000*(need+sharedRequest(pod))/capacity
	return min(max(score, 1000+guaranteed), bestEffort-1)
}

// leastRequest is the smallest memory request among the regular containers.
func leastRequest(pod *corev1.Pod) int64 {
	least := int64(-1)
	for i := range pod.Spec.Containers {
		q := pod.Spec.Containers[i].Resources.Requests[corev1.ResourceMemory]
		if v := q.Value(); least < 0 || v < least {
			least = v
		}
	}
	return max(least, 0)
}

// sharedRequest is a container's part of the memory that the pod as a whole
// requests beyond the requests of its containers (KEP-2837).
func sharedRequest(pod *corev1.Pod) int64 {
	whole, ok := PodResources(pod).Requests[corev1.ResourceMemory]
	if !ok || len(pod.Spec.Containers) == 0 {
		return 0
	}
	own := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})[corev1.ResourceMemory]
	n := int64(len(pod.Spec.Containers))
	for i := range pod.Spec.InitContainers {
		if IsSidecar(&pod.Spec.InitContainers[i]) {
			n++
		}
	}
	return max(whole.Value()-own.Value(), 0) / n
}

// HeldRequest is what a pod that is here already holds of a resource: not what it
// would get by a resize that this node refused.
func HeldRequest(pod *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	return countedBy(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true})[name]
}

// Requests is all that a pod requests of what nodes count.
func Requests(pod *corev1.Pod) corev1.ResourceList {
	return countedBy(pod, resourcehelper.PodResourcesOptions{})
}

// countedBy leaves out of a pod's requests what no node counts, and what a
// resource claim provides.
func countedBy(pod *corev1.Pod, how resourcehelper.PodResourcesOptions) corev1.ResourceList {
	all := resourcehelper.PodRequests(pod, how)
	maps.DeleteFunc(all, func(name corev1.ResourceName, _ resource.Quantity) bool {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			return false
		}
		return !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) && !isExtended(name) || fromClaim(pod, name)
	})
	return all
}

// isExtended reports whether a resource is advertised by a device plugin or an
// operator, such as "nvidia.com/gpu".
func isExtended(name corev1.ResourceName) bool {
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
}

// fromClaim reports whether a resource claim provides the resource to the pod
// (KEP-5004).
func fromClaim(pod *corev1.Pod, name corev1.ResourceName) bool {
	st := pod.Status.ExtendedResourceClaimStatus
	return st != nil && slices.ContainsFunc(st.RequestMappings, func(m corev1.ContainerExtendedResourceRequest) bool { return m.ResourceName == string(name) })
}

// ContainerAllocatable is the most that a container without a limit may use: what
// the node can allocate, or the limit of the pod as a whole. The downward API
// shows it.
func ContainerAllocatable(pod *corev1.Pod, node corev1.ResourceList) corev1.ResourceList {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if q := PodResources(pod).Limits[name]; !q.IsZero() {
			node = maps.Clone(node)
			node[name] = q
		}
	}
	return node
}
