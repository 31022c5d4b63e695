package topology

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/utils/cpuset"

	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// CPUOptions are the kubelet's cpuManagerPolicyOptions of the static policy that are
// on by default in Kubernetes 1.37.
type CPUOptions struct {
	FullCores   bool // full-pcpus-only: only whole cores are given
	Distribute  bool // distribute-cpus-across-numa
	Strict      bool // strict-cpu-reservation: pods do not run on reserved CPUs
	AlignCaches bool // prefer-align-cpus-by-uncorecache
}

// reasonSMT is the kubelet's reason for a container that full-pcpus-only refuses.
const reasonSMT = "SMTAlignmentError"

// cpus gives CPUs to containers, from the shared pool of a State.
type cpus struct {
	m        *Machine
	options  CPUOptions
	reserved cpuset.CPUSet // never given to one container
	state    *State
	reusable cpuset.CPUSet // of init containers of the pod that is being admitted
}

// reserve chooses the CPUs that are never given to one container: those that are
// named, or else so many from the cores with the lowest numbers.
func (c *cpus) reserve(named cpuset.CPUSet, count int) error {
	all := c.m.All()
	if !named.IsEmpty() {
		if !named.IsSubsetOf(all) {
			return fmt.Errorf("edged: reserved CPUs %s (--reserved-cpus): %s are not online: the machine has %s", named, named.Difference(all), all)
		}
		c.reserved = named
		return nil
	}
	set, err := c.choose(all, count)
	if err != nil {
		return fmt.Errorf("edged: cannot reserve %d CPUs of %s: %w: reserve less (--system-reserved, --kube-reserved)", count, all, err)
	}
	c.reserved = set
	return nil
}

func (c *cpus) choose(free cpuset.CPUSet, n int) (cpuset.CPUSet, error) {
	if !c.options.Distribute {
		return takePacked(c.m, free, n, c.options.AlignCaches)
	}
	unit := 1
	if c.options.FullCores {
		unit = c.m.threads()
	}
	return takeDistributed(c.m, free, n, unit)
}

// poolAtFirst is the shared pool while no container has CPUs of its own.
func (c *cpus) poolAtFirst() cpuset.CPUSet {
	if c.options.Strict {
		return c.m.All().Difference(c.reserved)
	}
	return c.m.All()
}

// available is what can be given to one container.
func (c *cpus) available() cpuset.CPUSet { return c.state.Shared.Difference(c.reserved) }

// wholeCPUs is how many CPUs a container is to have of its own; 0 for none.
func wholeCPUs(pod *corev1.Pod, c *corev1.Container) int {
	q := c.Resources.Requests[corev1.ResourceCPU]
	if podspec.QOSClass(pod) != corev1.PodQOSGuaranteed || resourcehelper.IsPodLevelResourcesSet(pod) || q.Value()*1000 != q.MilliValue() {
		return 0
	}
	return int(q.Value())
}

// podCPUs is how many CPUs a pod needs at the same time: its init containers run one
// after the other beside the sidecars before them (KEP-753).
func podCPUs(pod *corev1.Pod) int {
	initial, lasting := 0, 0
	for i := range pod.Spec.InitContainers {
		n := wholeCPUs(pod, &pod.Spec.InitContainers[i])
		if podspec.IsSidecar(&pod.Spec.InitContainers[i]) {
			lasting += n
		} else {
			initial = max(initial, lasting+n)
		}
	}
	for i := range pod.Spec.Containers {
		lasting += wholeCPUs(pod, &pod.Spec.Containers[i])
	}
	return max(initial, lasting)
}

// Hints implements Provider.
func (c *cpus) Hints(pod *corev1.Pod, ctr *corev1.Container) map[string][]Hint {
	n := wholeCPUs(pod, ctr)
	if n == 0 {
		return nil
	}
	if has, ok := c.state.CPUs[string(pod.UID)][ctr.Name]; ok {
		if has.Size() != n {
			return map[string][]Hint{string(corev1.ResourceCPU): {}}
		}
		return map[string][]Hint{string(corev1.ResourceCPU): c.hints(has, cpuset.New(), n)}
	}
	return map[string][]Hint{string(corev1.ResourceCPU): c.hints(c.available(), c.reusable, n)}
}

// PodHints implements Provider.
func (c *cpus) PodHints(pod *corev1.Pod) map[string][]Hint {
	n := podCPUs(pod)
	if n == 0 {
		return nil
	}
	assigned := cpuset.New()
	for _, ctr := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if has, ok := c.state.CPUs[string(pod.UID)][ctr.Name]; ok {
			if has.Size() != wholeCPUs(pod, &ctr) {
				return map[string][]Hint{string(corev1.ResourceCPU): {}}
			}
			assigned = assigned.Union(has)
		}
	}
	if assigned.Size() == n {
		return map[string][]Hint{string(corev1.ResourceCPU): c.hints(assigned, cpuset.New(), n)}
	}
	return map[string][]Hint{string(corev1.ResourceCPU): c.hints(c.available(), c.reusable.Union(assigned), n)}
}

// hints lists the sets of nodes with n CPUs. All that can be used again must be in the
// set. Those with as few nodes as would do on an empty machine are preferred.
func (c *cpus) hints(free, reusable cpuset.CPUSet, n int) []Hint {
	nodes := c.m.nodesWithCPUs()
	least := len(nodes)
	out := []Hint{}
	subsets(nodes, func(set Mask) {
		all := c.m.onNodes(set)
		if all.Size() >= n {
			least = min(least, set.Count())
		}
		if reusable.IsSubsetOf(all) && free.Union(reusable).Intersection(all).Size() >= n {
			out = append(out, Hint{Nodes: set})
		}
	})
	for i := range out {
		out[i].Preferred = out[i].Nodes.Count() == least
	}
	return out
}

// Allocate implements Provider.
func (c *cpus) Allocate(pod *corev1.Pod, ctr *corev1.Container, on Hint) error {
	n := wholeCPUs(pod, ctr)
	if n == 0 {
		return nil
	}
	uid := string(pod.UID)
	set, ok := c.state.CPUs[uid][ctr.Name]
	if !ok {
		if err := c.checkCores(n); err != nil {
			return err
		}
		var err error
		if set, err = c.allocate(n, on.Nodes); err != nil {
			return err
		}
		c.state.setCPUs(uid, ctr.Name, set)
		c.state.Shared = c.state.Shared.Difference(set)
	}
	if isInit, sidecar := role(pod, ctr.Name); isInit && !sidecar {
		c.reusable = c.reusable.Union(set)
	} else {
		c.reusable = c.reusable.Difference(set)
	}
	return nil
}

// allocate takes CPUs of some nodes as far as they have them, and then others.
func (c *cpus) allocate(n int, nodes Mask) (cpuset.CPUSet, error) {
	free, set := c.available().Union(c.reusable), cpuset.New()
	if nodes != 0 {
		near := free.Intersection(c.m.onNodes(nodes))
		var err error
		if set, err = c.choose(near, min(n, near.Size())); err != nil {
			return set, err
		}
	}
	rest, err := c.choose(free.Difference(set), n-set.Size())
	return set.Union(rest), err
}

// checkCores refuses what would not be whole cores, where only such are given. A core
// with a reserved CPU is not given.
func (c *cpus) checkCores(n int) error {
	threads := c.m.threads()
	switch {
	case !c.options.FullCores:
		return nil
	case n%threads != 0:
		return &Error{reasonSMT, fmt.Sprintf("SMT Alignment Error: requested %d cpus not multiple cpus per core = %d", n, threads)}
	}
	broken := make(map[int]bool)
	for _, id := range c.reserved.UnsortedList() {
		broken[c.m.CPUs[id].Core] = true
	}
	free := c.state.Shared.Difference(c.m.where(func(cpu CPU) bool { return broken[cpu.Core] })).Size()
	if n > free {
		return &Error{reasonSMT, fmt.Sprintf("SMT Alignment Error: not enough free physical CPUs: available physical CPUs = %d, requested CPUs = %d, CPUs per core = %d", free, n, threads)}
	}
	return nil
}

// Release implements Provider: the Allocator takes the whole State back.
func (c *cpus) Release(*corev1.Pod) {}

// release returns to the shared pool what a container had and no other of its pod has.
func (s *State) releaseCPUs(uid, name string) {
	set, ok := s.CPUs[uid][name]
	if !ok {
		return
	}
	delete(s.CPUs[uid], name)
	for _, other := range s.CPUs[uid] {
		set = set.Difference(other)
	}
	if len(s.CPUs[uid]) == 0 {
		delete(s.CPUs, uid)
	}
	s.Shared = s.Shared.Union(set)
}

// role says whether a container is an init container, and whether it is one that runs
// on beside the others.
func role(pod *corev1.Pod, name string) (isInit, sidecar bool) {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return true, podspec.IsSidecar(&pod.Spec.InitContainers[i])
		}
	}
	return false, false
}
