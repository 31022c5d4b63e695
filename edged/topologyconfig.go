package edged

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/cpuset"

	"github.com/edgekit/edgekit/edged/internal/topology"
)

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
	var out topology.CPUOptions
	for _, name := range slices.Sorted(maps.Keys(t.CPUManagerPolicyOptions)) {
		on, err := strconv.ParseBool(t.CPUManagerPolicyOptions[name])
		if err != nil {
			return out, fmt.Errorf("%s: %s is %q: use true or false", field, name, t.CPUManagerPolicyOptions[name])
		}
		switch name {
		case "full-pcpus-only":
			out.FullCores = on
		case "distribute-cpus-across-numa":
			out.Distribute = on
		case "strict-cpu-reservation":
			out.Strict = on
		case "prefer-align-cpus-by-uncorecache":
			out.AlignCaches = on
		case "align-by-socket", "distribute-cpus-across-cores":
			return out, fmt.Errorf("%s: %s is off by default in Kubernetes 1.37 (alpha) and not supported: leave it out", field, name)
		default:
			return out, fmt.Errorf("%s: %q is not known: use full-pcpus-only, distribute-cpus-across-numa, strict-cpu-reservation or prefer-align-cpus-by-uncorecache", field, name)
		}
	}
	switch {
	case len(t.CPUManagerPolicyOptions) > 0 && !t.pinsCPUs():
		return out, errors.New(field + " need CPUManagerPolicy (--cpu-manager-policy) static")
	case out.Distribute && out.AlignCaches:
		return out, errors.New(field + ": distribute-cpus-across-numa and prefer-align-cpus-by-uncorecache exclude each other: leave one out")
	}
	return out, nil
}

// alignment reads TopologyManagerPolicyOptions; most 0 means the default.
func (t Topology) alignment() (closest bool, most int, err error) {
	const field = "edged: Config.Topology.TopologyManagerPolicyOptions (--topology-manager-policy-options)"
	for _, name := range slices.Sorted(maps.Keys(t.TopologyManagerPolicyOptions)) {
		text := t.TopologyManagerPolicyOptions[name]
		switch name {
		case "prefer-closest-numa-nodes":
			if closest, err = strconv.ParseBool(text); err != nil {
				return false, 0, fmt.Errorf("%s: %s is %q: use true or false", field, name, text)
			}
		case "max-allowable-numa-nodes":
			if most, err = strconv.Atoi(text); err != nil || most < 8 {
				return false, 0, fmt.Errorf("%s: %s is %q: use a number from 8 on", field, name, text)
			}
		default:
			return false, 0, fmt.Errorf("%s: %q is not known: use prefer-closest-numa-nodes or max-allowable-numa-nodes", field, name)
		}
	}
	return closest, most, nil
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
