package podspec

import (
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Policy is how a node turns requests and limits into those of the kernel. The zero
// value is that of a kubelet without settings.
type Policy struct {
	NoCPUQuota       bool    // limits of CPU are not enforced
	CPUPeriod        int64   // microseconds; 0 means CPUPeriod
	PodPids          int64   // processes of a pod; 0 means no limit
	MemoryThrottling float64 // the kubelet's memoryThrottlingFactor; 0 means that memory.high is not set
	TieredMemory     bool    // requests of memory are protected, the kubelet's TieredReservation
	LimitedSwap      bool    // Burstable pods may use swap
}

// Files of cgroup v2.
const (
	memoryMin  = "memory.min"
	memoryLow  = "memory.low"
	memoryHigh = "memory.high"
	swapMax    = "memory.swap.max"
	oomGroup   = "memory.oom.group"
)

// period is the CPU period in microseconds.
func (p Policy) period() int64 {
	if p.CPUPeriod > 0 {
		return p.CPUPeriod
	}
	return CPUPeriod
}

// ContainerResources turns a container's requests and limits into what the kernel
// knows. A request that is not set is as large as its limit.
func (b *Builder) ContainerResources(pod *corev1.Pod, c *corev1.Container, node Node) runtime.Resources {
	p := b.cfg.Policy
	limit, memLimit := limitOf(pod, c, corev1.ResourceCPU), limitOf(pod, c, corev1.ResourceMemory)
	cpu, asked := c.Resources.Requests[corev1.ResourceCPU]
	if !asked {
		cpu = limit
	}
	// The kernel scales the OOM score by the machine's memory.
	capacity := node.Capacity[corev1.ResourceMemory]
	r := runtime.Resources{CPUShares: CPUShares(cpu), Memory: memLimit.Value(), OOMScoreAdj: oomScore(pod, c, capacity.Value()), HugePages: hugePages(pod, c, node.HugePageSizes)}
	if !p.NoCPUQuota {
		r.CPUQuota, r.CPUPeriod = quotaFor(limit, p.period()), p.period()
	}
	if node.CgroupV2 {
		r.Unified = map[string]string{oomGroup: "1"} // a container dies as a whole
		maps.Copy(r.Unified, p.memoryQoS(pod, c, node))
	}
	p.limitSwap(&r, pod, c, node)
	return r
}

// SwapAllowed reports whether a container may use swap (KEP-2400): one of a Burstable
// pod that is not critical, which requests less memory than its limit, on a node with
// LimitedSwap and cgroup v2.
func (p Policy) SwapAllowed(pod *corev1.Pod, c *corev1.Container, node Node) bool {
	request, limit := c.Resources.Requests[corev1.ResourceMemory], c.Resources.Limits[corev1.ResourceMemory]
	return p.LimitedSwap && node.CgroupV2 && node.SwapLimited && !isCritical(pod) && QOSClass(pod) == corev1.PodQOSBurstable &&
		!(request.IsZero() && limit.IsZero()) && request.Cmp(limit) != 0
}

// limitSwap bounds the swap of a container (KEP-2400). With cgroup v1, a container
// without a memory limit cannot be kept from the swap.
func (p Policy) limitSwap(r *runtime.Resources, pod *corev1.Pod, c *corev1.Container, node Node) {
	switch {
	case !node.SwapLimited:
	case !node.CgroupV2:
		r.MemorySwap = r.Memory // counts both
	case p.SwapAllowed(pod, c, node):
		request, capacity := c.Resources.Requests[corev1.ResourceMemory], node.Capacity[corev1.ResourceMemory]
		r.Unified[swapMax] = "0"
		if total := capacity.Value(); total > 0 && request.Value() <= total {
			r.Unified[swapMax] = strconv.FormatInt(int64(float64(request.Value())/float64(total)*float64(node.Swap)), 10)
		}
	default:
		r.Unified[swapMax] = "0"
	}
}

// memoryQoS is the protection of a container's request and the throttling below its
// limit (KEP-2570).
func (p Policy) memoryQoS(pod *corev1.Pod, c *corev1.Container, node Node) map[string]string {
	requestQ, limitQ := c.Resources.Requests[corev1.ResourceMemory], c.Resources.Limits[corev1.ResourceMemory]
	request, limit := requestQ.Value(), limitQ.Value()
	// What an agent with another policy set is taken back by the next change.
	out := map[string]string{memoryMin: "0", memoryLow: "0"}
	if p.TieredMemory && request != 0 {
		out = map[string]string{protection(pod): strconv.FormatInt(request, 10)}
	}
	whole := PodResources(pod).Limits[corev1.ResourceMemory]
	if p.MemoryThrottling <= 0 || limit == 0 && !whole.IsZero() || request == limit && request != 0 {
		return out // a limit of the pod throttles it as a whole
	}
	if limit == 0 {
		allocatable := node.Allocatable[corev1.ResourceMemory]
		limit = allocatable.Value()
	}
	if high := p.throttleAt(request, limit); limit > 0 && high > request {
		out[memoryHigh] = strconv.FormatInt(high, 10)
	}
	return out
}

// protection is the file that protects the memory request of a pod: from any
// reclaim for a Guaranteed one, else as long as memory is found elsewhere.
func protection(pod *corev1.Pod) string {
	if QOSClass(pod) == corev1.PodQOSGuaranteed {
		return memoryMin
	}
	return memoryLow
}

// throttleAt is where between request and limit the kernel begins to throttle, in
// bytes, in whole pages (KEP-2570).
func (p Policy) throttleAt(request, limit int64) int64 {
	page := int64(os.Getpagesize())
	at := math.Floor((float64(request) + (float64(limit)-float64(request))*p.MemoryThrottling) / float64(page))
	return int64(at) * page
}

// hugePages bounds each size of huge pages that the machine has: by the container's
// limit, or else the pod's; to nothing without one.
func hugePages(pod *corev1.Pod, c *corev1.Container, sizes []string) map[string]uint64 {
	out := make(map[string]uint64)
	for _, size := range sizes {
		out[size] = 0
	}
	for _, limits := range []corev1.ResourceList{PodResources(pod).Limits, c.Resources.Limits} {
		maps.Copy(out, hugePagesOf(limits))
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// hugePagesOf are the huge pages of a list in bytes, by their PageName.
func hugePagesOf(list corev1.ResourceList) map[string]uint64 {
	out := make(map[string]uint64)
	for name, q := range list {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			out[PageName(size)] = uint64(max(q.Value(), 0))
		}
	}
	return out
}

// PageName writes a page size as the kernel's cgroup files do: 2Mi is "2MB".
func PageName(size string) string { return strings.TrimSuffix(size, "i") + "B" }

// PodLimits bounds the pod's cgroup: CPU shares, processes and huge pages always;
// quota and memory only if the pod has such a limit, or every container has one. A
// limit that one container lacks is no limit of the pod.
func (b *Builder) PodLimits(pod *corev1.Pod, node Node) cgroup.Limits {
	p := b.cfg.Policy
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	l := cgroup.Limits{CPUShares: CPUShares(requests[corev1.ResourceCPU]), Pids: p.PodPids, HugePages: hugePagesOf(requests)}
	memory := podLimit(pod, corev1.ResourceMemory)
	l.Memory = memory.Value()
	l.CPUQuota = quotaFor(podLimit(pod, corev1.ResourceCPU), p.period())
	if p.NoCPUQuota {
		l.CPUQuota = -1
	}
	if l.CPUQuota != 0 {
		l.CPUPeriod = p.period()
	}
	if !node.CgroupV2 {
		return l
	}
	l.Unified = make(map[string]string)
	request := requests[corev1.ResourceMemory]
	if p.TieredMemory && request.Value() > 0 {
		l.Unified[protection(pod)] = strconv.FormatInt(request.Value(), 10)
	}
	// Only a pod with resources of its own is throttled as a whole.
	if p.MemoryThrottling > 0 && resourcehelper.IsPodLevelResourcesSet(pod) && l.Memory > 0 && request.Value() != l.Memory {
		if high := p.throttleAt(request.Value(), l.Memory); high > request.Value() {
			l.Unified[memoryHigh] = strconv.FormatInt(high, 10)
		}
	}
	return l
}

// Overhead is what the sandbox of a pod takes besides its containers, in the
// runtime's form; nothing where its runtime class says none.
func Overhead(pod *corev1.Pod) runtime.Resources {
	cpu, memory := pod.Spec.Overhead[corev1.ResourceCPU], pod.Spec.Overhead[corev1.ResourceMemory]
	r := runtime.Resources{Memory: memory.Value()}
	if !cpu.IsZero() {
		r.CPUShares, r.CPUQuota, r.CPUPeriod = CPUShares(cpu), CPUQuota(cpu), CPUPeriod
	}
	return r
}

// podLimit is the limit of a pod as a whole, with its overhead; zero if it has none.
func podLimit(pod *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	sum := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	if q := PodResources(pod).Limits[name]; !q.IsZero() {
		return sum[name]
	}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		if q := c.Resources.Limits[name]; q.IsZero() {
			return resource.Quantity{}
		}
	}
	return sum[name]
}

// isCritical reports whether a pod is one of the cluster's or of the node's own.
func isCritical(pod *corev1.Pod) bool {
	return pod.Spec.Priority != nil && *pod.Spec.Priority >= criticalPriority
}

// criticalPriority is that of system-cluster-critical, the lower of the two.
const criticalPriority = 2_000_000_000
