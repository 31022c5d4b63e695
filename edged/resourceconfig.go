package edged

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/allocatable"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// Resources is how a node divides its CPU, memory, processes and swap. The names,
// and the meaning of zero, are those of the KubeletConfiguration.
type Resources struct {
	// SystemReserved and KubeReserved are kept from pods, for the daemons of the
	// machine and of Kubernetes: cpu, memory, ephemeral-storage and pid.
	SystemReserved, KubeReserved corev1.ResourceList
	// EnforceNodeAllocatable says what is enforced by cgroups. None means
	// EnforcePods alone. The others need the cgroup of the daemons.
	EnforceNodeAllocatable []Enforcement
	// SystemReservedCgroup and KubeReservedCgroup are the cgroups of the daemons,
	// such as "/system" or, with systemd, "/system.slice". They must exist.
	SystemReservedCgroup, KubeReservedCgroup string

	PodPidsLimit      int64         // processes and threads of a pod; 0 and -1 mean no limit
	CPUCFSQuota       Toggle        // whether limits of CPU are enforced
	CPUCFSQuotaPeriod time.Duration // 0 means 100 ms; 1 ms to 1 s
	// MemoryThrottlingFactor sets memory.high of containers on cgroup v2, that far
	// between request and limit: above 0, up to 1. 0 sets none.
	MemoryThrottlingFactor float64
	// MemoryReservation says whether requests of memory are protected on cgroup v2;
	// "" means NoMemoryReservation.
	MemoryReservation MemoryReservation
	SwapBehavior      SwapBehavior // which containers may use swap; "" means NoSwap
	// FailSwapOn has Run fail on a machine with swap. Unlike a kubelet, an agent
	// does not do so by default.
	FailSwapOn bool
}

// Enforcement is a value of enforceNodeAllocatable.
type Enforcement string

// The values of an Enforcement.
const (
	EnforcePods                       Enforcement = "pods"
	EnforceSystemReserved             Enforcement = "system-reserved"
	EnforceKubeReserved               Enforcement = "kube-reserved"
	EnforceSystemReservedCompressible Enforcement = "system-reserved-compressible" // cpu only
	EnforceKubeReservedCompressible   Enforcement = "kube-reserved-compressible"   // cpu only
	EnforceNone                       Enforcement = "none"
)

// MemoryReservation is the kubelet's memoryReservationPolicy (KEP-2570).
type MemoryReservation string

// The values of a MemoryReservation.
const (
	NoMemoryReservation MemoryReservation = "None"
	// TieredReservation protects the requests of Guaranteed pods from any reclaim
	// (memory.min), and those of Burstable ones as long as there is other memory
	// (memory.low).
	TieredReservation MemoryReservation = "TieredReservation"
)

// SwapBehavior is the kubelet's memorySwap.swapBehavior (KEP-2400).
type SwapBehavior string

// The values of a SwapBehavior.
const (
	// NoSwap keeps all containers from the swap: on cgroup v1 those with a memory
	// limit only.
	NoSwap SwapBehavior = "NoSwap"
	// LimitedSwap lets containers of Burstable pods swap, in proportion to their
	// memory requests. It is NoSwap on cgroup v1.
	LimitedSwap SwapBehavior = "LimitedSwap"
)

// check refuses what cannot be meant.
func (r Resources) check() error {
	for field, list := range map[string]corev1.ResourceList{"SystemReserved": r.SystemReserved, "KubeReserved": r.KubeReserved} {
		for name, q := range list {
			switch name {
			case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, allocatable.PIDs:
			default:
				return fmt.Errorf("edged: Config.Resources.%s: %q cannot be reserved: use cpu, memory, ephemeral-storage or pid", field, name)
			}
			if q.Sign() < 0 {
				return fmt.Errorf("edged: Config.Resources.%s: %s is %s: it must not be negative", field, name, q.String())
			}
		}
	}
	switch period := r.CPUCFSQuotaPeriod; {
	case r.PodPidsLimit < -1:
		return fmt.Errorf("edged: Config.Resources.PodPidsLimit is %d: use a number above 0, or -1 for no limit", r.PodPidsLimit)
	case period != 0 && (period < time.Millisecond || period > time.Second):
		return fmt.Errorf("edged: Config.Resources.CPUCFSQuotaPeriod is %s: it must be from 1ms to 1s", period)
	case r.MemoryThrottlingFactor < 0 || r.MemoryThrottlingFactor > 1:
		return fmt.Errorf("edged: Config.Resources.MemoryThrottlingFactor is %v: it must be above 0 and at most 1", r.MemoryThrottlingFactor)
	case !slices.Contains([]MemoryReservation{"", NoMemoryReservation, TieredReservation}, r.MemoryReservation):
		return fmt.Errorf("edged: Config.Resources.MemoryReservation is %q: use None or TieredReservation", r.MemoryReservation)
	case !slices.Contains([]SwapBehavior{"", NoSwap, LimitedSwap}, r.SwapBehavior):
		return fmt.Errorf("edged: Config.Resources.SwapBehavior is %q: use NoSwap or LimitedSwap", r.SwapBehavior)
	}
	return r.checkEnforcement()
}

// checkEnforcement checks EnforceNodeAllocatable with the cgroups that it needs.
func (r Resources) checkEnforcement() error {
	const field = "edged: Config.Resources.EnforceNodeAllocatable"
	seen := make(map[Enforcement]bool)
	for _, e := range r.EnforceNodeAllocatable {
		if seen[e] {
			return fmt.Errorf("%s has %s twice: leave one out", field, e)
		}
		seen[e] = true
		switch e {
		case EnforcePods, EnforceNone:
		case EnforceSystemReserved, EnforceSystemReservedCompressible:
			if r.SystemReservedCgroup == "" {
				return fmt.Errorf("%s has %s, which needs SystemReservedCgroup", field, e)
			}
		case EnforceKubeReserved, EnforceKubeReservedCompressible:
			if r.KubeReservedCgroup == "" {
				return fmt.Errorf("%s has %s, which needs KubeReservedCgroup", field, e)
			}
		default:
			return fmt.Errorf("%s: %q is none of pods, system-reserved, system-reserved-compressible, kube-reserved, kube-reserved-compressible and none", field, e)
		}
	}
	switch {
	case seen[EnforceNone] && len(seen) > 1:
		return errors.New(field + ": none stands alone")
	case seen[EnforceSystemReserved] && seen[EnforceSystemReservedCompressible], seen[EnforceKubeReserved] && seen[EnforceKubeReservedCompressible]:
		return errors.New(field + ": what is reserved is enforced whole or compressible, not both")
	}
	return nil
}

// enforces reports whether something is enforced.
func (r Resources) enforces(e Enforcement) bool {
	if len(r.EnforceNodeAllocatable) == 0 {
		return e == EnforcePods
	}
	return slices.Contains(r.EnforceNodeAllocatable, e)
}

// clone is a copy that shares nothing.
func (r Resources) clone() Resources {
	r.SystemReserved, r.KubeReserved = r.SystemReserved.DeepCopy(), r.KubeReserved.DeepCopy()
	r.EnforceNodeAllocatable = slices.Clone(r.EnforceNodeAllocatable)
	return r
}

// reserved is all that pods may not use.
func (c Config) reserved() corev1.ResourceList {
	return allocatable.Add(c.Reserved, c.Resources.SystemReserved, c.Resources.KubeReserved)
}

// policy is the part that concerns the cgroups of pods and containers.
func (r Resources) policy() podspec.Policy {
	return podspec.Policy{
		NoCPUQuota: r.CPUCFSQuota == Off, CPUPeriod: r.CPUCFSQuotaPeriod.Microseconds(), PodPids: max(r.PodPidsLimit, 0),
		MemoryThrottling: r.MemoryThrottlingFactor, TieredMemory: r.MemoryReservation == TieredReservation, LimitedSwap: r.SwapBehavior == LimitedSwap,
	}
}
