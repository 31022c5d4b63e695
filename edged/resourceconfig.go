package edged

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/cpuset"

	"github.com/edgekit/edgekit/edged/internal/allocatable"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/topology"
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

// Topology says which containers get CPUs and memory of their own, and how these are
// aligned to the NUMA nodes of the machine: the kubelet's CPU, memory and topology
// managers. The names are those of the KubeletConfiguration. The zero value gives
// nothing to anybody, and costs nothing.
type Topology struct {
	// CPUManagerPolicy is "none" or "static"; "" means none. With static a container of
	// a Guaranteed pod that requests whole CPUs has them alone.
	CPUManagerPolicy string
	// CPUManagerPolicyOptions are options of the static policy, each "true" or "false":
	// full-pcpus-only, distribute-cpus-across-numa, strict-cpu-reservation and
	// prefer-align-cpus-by-uncorecache.
	CPUManagerPolicyOptions map[string]string
	// CPUManagerReconcilePeriod is how often CPUs of pods that have ended are given to
	// the others, and a failed change is tried again; 0 means 10 seconds.
	CPUManagerReconcilePeriod time.Duration
	// ReservedSystemCPUs are CPUs that no container has alone, such as "0-1"; "" means
	// as many as are reserved. Their number takes the place of the cpu that is reserved.
	ReservedSystemCPUs string
	// MemoryManagerPolicy is "None" or "Static"; "" means None. With Static the
	// memory of a Guaranteed pod is on as few NUMA nodes as possible. It needs
	// ReservedMemory.
	MemoryManagerPolicy string
	ReservedMemory      []NodeMemory // what pods may not use of each NUMA node
	// TopologyManagerPolicy is "none", "best-effort", "restricted" or
	// "single-numa-node"; "" means none.
	TopologyManagerPolicy string
	// TopologyManagerScope is "container" or "pod": what is aligned as a whole; ""
	// means container.
	TopologyManagerScope string
	// TopologyManagerPolicyOptions are prefer-closest-numa-nodes ("true" or "false")
	// and max-allowable-numa-nodes (8 or more).
	TopologyManagerPolicyOptions map[string]string
	// Sys is the /sys of the machine; nil means the host's.
	Sys fs.FS
}

// NodeMemory is memory and huge pages of one NUMA node.
type NodeMemory struct {
	NUMANode int                 // as in /sys/devices/system/node
	Limits   corev1.ResourceList // memory and hugepages-SIZE
}

// on reports whether any policy is in force.
func (t Topology) on() bool {
	return t.pinsCPUs() || t.pinsMemory() || t.TopologyManagerPolicy != "" && t.TopologyManagerPolicy != string(topology.PolicyNone)
}

func (t Topology) pinsCPUs() bool   { return t.CPUManagerPolicy == "static" }
func (t Topology) pinsMemory() bool { return t.MemoryManagerPolicy == "Static" }

// clone is a copy that shares nothing.
func (t Topology) clone() Topology {
	t.CPUManagerPolicyOptions = maps.Clone(t.CPUManagerPolicyOptions)
	t.TopologyManagerPolicyOptions = maps.Clone(t.TopologyManagerPolicyOptions)
	t.ReservedMemory = slices.Clone(t.ReservedMemory)
	for i := range t.ReservedMemory {
		t.ReservedMemory[i].Limits = t.ReservedMemory[i].Limits.DeepCopy()
	}
	return t
}

// checkTopology refuses what cannot be meant. What needs the machine is checked by Run.
func (c Config) checkTopology() error {
	t := c.Topology
	for _, f := range []struct {
		field, flag, value string
		allowed            []string
	}{
		{"CPUManagerPolicy", "cpu-manager-policy", t.CPUManagerPolicy, []string{"none", "static"}},
		{"MemoryManagerPolicy", "memory-manager-policy", t.MemoryManagerPolicy, []string{"None", "Static"}},
		{"TopologyManagerPolicy", "topology-manager-policy", t.TopologyManagerPolicy, []string{"none", "best-effort", "restricted", "single-numa-node"}},
		{"TopologyManagerScope", "topology-manager-scope", t.TopologyManagerScope, []string{"container", "pod"}},
	} {
		if f.value != "" && !slices.Contains(f.allowed, f.value) {
			return fmt.Errorf("edged: Config.Topology.%s (--%s) is %q: use %s", f.field, f.flag, f.value, strings.Join(f.allowed, ", "))
		}
	}
	if t.CPUManagerReconcilePeriod < 0 {
		return fmt.Errorf("edged: Config.Topology.CPUManagerReconcilePeriod (--cpu-manager-reconcile-period) is %s: it must not be negative", t.CPUManagerReconcilePeriod)
	}
	if _, err := t.cpuOptions(); err != nil {
		return err
	}
	if _, _, err := t.alignment(); err != nil {
		return err
	}
	if t.ReservedSystemCPUs != "" {
		const field = "edged: Config.Topology.ReservedSystemCPUs (--reserved-cpus)"
		set, err := topology.ParseCPUs(t.ReservedSystemCPUs)
		switch {
		case err != nil || set.IsEmpty():
			return fmt.Errorf("%s %q is no list of CPUs, such as 0-1,4", field, t.ReservedSystemCPUs)
		case c.Resources.SystemReservedCgroup != "" || c.Resources.KubeReservedCgroup != "":
			return errors.New(field + " cannot be used with SystemReservedCgroup and KubeReservedCgroup (--system-reserved-cgroup, --kube-reserved-cgroup): leave out one or the other")
		}
	}
	if cpu := c.withReservedCPUs().reserved()[corev1.ResourceCPU]; t.pinsCPUs() && cpu.Sign() <= 0 {
		return errors.New("edged: Config.Topology.CPUManagerPolicy (--cpu-manager-policy) static needs CPUs that no container has alone: set --reserved-cpus, or cpu in --system-reserved or --kube-reserved")
	}
	return t.checkReservedMemory()
}

// checkReservedMemory checks the form of ReservedMemory.
func (t Topology) checkReservedMemory() error {
	const field = "edged: Config.Topology.ReservedMemory (--reserved-memory)"
	if t.pinsMemory() && len(t.ReservedMemory) == 0 {
		return errors.New(field + " is needed with MemoryManagerPolicy (--memory-manager-policy) Static: give what is reserved of each NUMA node, such as 0:memory=500Mi")
	}
	type place struct {
		node int
		name corev1.ResourceName
	}
	seen := make(map[place]bool)
	for _, n := range t.ReservedMemory {
		if n.NUMANode < 0 || len(n.Limits) == 0 {
			return fmt.Errorf("%s: NUMA node %d: give a node from 0 on, and how much of memory or hugepages-SIZE", field, n.NUMANode)
		}
		for name, q := range n.Limits {
			switch {
			case name != corev1.ResourceMemory && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
				return fmt.Errorf("%s: NUMA node %d: %q cannot be reserved: use memory or hugepages-SIZE", field, n.NUMANode, name)
			case q.Sign() <= 0:
				return fmt.Errorf("%s: NUMA node %d: %s is %s: it must be above 0", field, n.NUMANode, name, q.String())
			case seen[place{n.NUMANode, name}]:
				return fmt.Errorf("%s: NUMA node %d has %s twice: leave one out", field, n.NUMANode, name)
			}
			seen[place{n.NUMANode, name}] = true
		}
	}
	return nil
}

// cpuOptions reads CPUManagerPolicyOptions.
func (t Topology) cpuOptions() (topology.CPUOptions, error) {
	const field = "edged: Config.Topology.CPUManagerPolicyOptions (--cpu-manager-policy-options)"
	out, err := topology.ParseCPUOptions(t.CPUManagerPolicyOptions)
	switch {
	case err != nil:
		return out, fmt.Errorf("%s: %w", field, err)
	case len(t.CPUManagerPolicyOptions) > 0 && !t.pinsCPUs():
		return out, errors.New(field + " need CPUManagerPolicy (--cpu-manager-policy) static")
	case out.Distribute && out.AlignCaches:
		return out, errors.New(field + ": distribute-cpus-across-numa and prefer-align-cpus-by-uncorecache exclude each other: leave one out")
	}
	return out, nil
}

// alignment reads TopologyManagerPolicyOptions; most 0 means the default.
func (t Topology) alignment() (closest bool, most int, err error) {
	if closest, most, err = topology.ParseAlignment(t.TopologyManagerPolicyOptions); err != nil {
		err = fmt.Errorf("edged: Config.Topology.TopologyManagerPolicyOptions (--topology-manager-policy-options): %w", err)
	}
	return closest, most, err
}

// withReservedCPUs puts the number of ReservedSystemCPUs in the place of the cpu that
// is reserved otherwise, as a kubelet does.
func (c Config) withReservedCPUs() Config {
	set, err := topology.ParseCPUs(c.Topology.ReservedSystemCPUs)
	if err != nil || set.IsEmpty() {
		return c
	}
	c.Reserved, c.Resources = c.Reserved.DeepCopy(), c.Resources.clone()
	delete(c.Reserved, corev1.ResourceCPU)
	delete(c.Resources.KubeReserved, corev1.ResourceCPU)
	if c.Resources.SystemReserved == nil {
		c.Resources.SystemReserved = make(corev1.ResourceList)
	}
	c.Resources.SystemReserved[corev1.ResourceCPU] = *resource.NewQuantity(int64(set.Size()), resource.DecimalSI)
	return c
}

// reservedCPUs are the CPUs that ReservedSystemCPUs names.
func (t Topology) reservedCPUs() cpuset.CPUSet {
	set, err := topology.ParseCPUs(t.ReservedSystemCPUs)
	if err != nil { // which checkTopology refuses
		return cpuset.New()
	}
	return set
}
