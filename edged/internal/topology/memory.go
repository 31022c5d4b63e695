package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// Block is memory, or huge pages of a size, that a container has on a set of nodes.
type Block struct {
	Nodes    Mask
	Resource corev1.ResourceName
	Size     uint64 // bytes
}

// amounts are bytes of memory and of huge pages.
type amounts map[corev1.ResourceName]uint64

// memory gives memory of NUMA nodes to containers.
type memory struct {
	m        *Machine
	reserved map[int]amounts // not for pods, by node
	state    *State
	reusable map[Mask]amounts // of init containers of the pod that is being admitted
}

// nodeUse is what of a node is used.
type nodeUse struct {
	group Mask // the nodes that it is used together with
	count int  // blocks on the node
	free  amounts
}

// allocatable is what pods can have of a node. Huge pages are not memory for others.
func (m *memory) allocatable(id int) amounts {
	out := make(amounts)
	for name, total := range m.m.Nodes[id].Memory {
		kept := m.reserved[id][name]
		if name == corev1.ResourceMemory {
			for other, size := range m.m.Nodes[id].Memory {
				if other != corev1.ResourceMemory {
					kept += size
				}
			}
		}
		out[name] = total - min(kept, total)
	}
	return out
}

// use is what the containers of the State use of each node.
func (m *memory) use() map[int]*nodeUse {
	out := make(map[int]*nodeUse)
	for id := range m.m.Nodes {
		out[id] = &nodeUse{group: MaskOf(id), free: m.allocatable(id)}
	}
	for _, uid := range slices.Sorted(maps.Keys(m.state.Memory)) {
		for _, name := range slices.Sorted(maps.Keys(m.state.Memory[uid])) {
			for _, b := range m.state.Memory[uid][name] {
				take(out, b)
			}
		}
	}
	return out
}

// take takes a block from its nodes, the lowest first.
func take(use map[int]*nodeUse, b Block) {
	for _, id := range b.Nodes.Nodes() {
		n := use[id]
		n.count++
		n.group = b.Nodes
		part := min(b.Size, n.free[b.Resource])
		n.free[b.Resource] -= part
		b.Size -= part
	}
}

// memoryOf is the memory and huge pages that a container is to have on nodes of its
// own; none if its pod is not Guaranteed.
func memoryOf(pod *corev1.Pod, c *corev1.Container) amounts {
	if podspec.QOSClass(pod) != corev1.PodQOSGuaranteed || resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	out := make(amounts)
	for name, q := range c.Resources.Requests {
		if name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			out[name] = uint64(max(q.Value(), 0))
		}
	}
	return out
}

// podMemory is what a pod needs at the same time, as podCPUs.
func podMemory(pod *corev1.Pod) amounts {
	initial, lasting := make(amounts), make(amounts)
	for i := range pod.Spec.InitContainers {
		for name, n := range memoryOf(pod, &pod.Spec.InitContainers[i]) {
			if podspec.IsSidecar(&pod.Spec.InitContainers[i]) {
				lasting[name] += n
			} else {
				initial[name] = max(initial[name], lasting[name]+n)
			}
		}
	}
	for i := range pod.Spec.Containers {
		for name, n := range memoryOf(pod, &pod.Spec.Containers[i]) {
			lasting[name] += n
		}
	}
	for name, n := range initial {
		lasting[name] = max(lasting[name], n)
	}
	return lasting
}

// Hints implements Provider.
func (m *memory) Hints(pod *corev1.Pod, c *corev1.Container) map[string][]Hint {
	want := memoryOf(pod, c)
	if len(want) == 0 {
		return nil
	}
	if has, ok := m.state.Memory[string(pod.UID)][c.Name]; ok {
		return hintsAgain(has, want)
	}
	return m.hints(want)
}

// PodHints implements Provider.
func (m *memory) PodHints(pod *corev1.Pod) map[string][]Hint {
	want := podMemory(pod)
	if len(want) == 0 {
		return nil
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if has, ok := m.state.Memory[string(pod.UID)][c.Name]; ok {
			return hintsAgain(has, want)
		}
	}
	return m.hints(want)
}

// hintsAgain are the hints of what was given before; none where something else is
// asked for now.
func hintsAgain(has []Block, want amounts) map[string][]Hint {
	out := make(map[string][]Hint)
	for _, b := range has {
		if size, ok := want[b.Resource]; !ok || size != b.Size {
			return nil
		}
		out[string(b.Resource)] = append(out[string(b.Resource)], Hint{Nodes: b.Nodes, Preferred: true})
	}
	if len(out) != len(want) {
		return nil
	}
	return out
}

// hints lists the sets of nodes that have what is wanted. A node is used alone, or
// always with the same others. Where no set has it there is no entry, as in a kubelet:
// it is Allocate that refuses then.
func (m *memory) hints(want amounts) map[string][]Hint {
	use := m.use()
	least := len(use)
	var sets []Mask
	subsets(sortedKeys(use), func(set Mask) {
		free, total, taken := make(amounts), make(amounts), false
		for _, id := range set.Nodes() {
			allocatable := m.allocatable(id)
			for name := range want {
				free[name] += use[id].free[name]
				total[name] += allocatable[name]
			}
			taken = taken || violates(use[id], set)
		}
		if lacks(total, want, nil) {
			return
		}
		least = min(least, set.Count())
		if !taken && !lacks(free, want, m.reusable[set]) {
			sets = append(sets, set)
		}
	})
	out := make(map[string][]Hint)
	for name := range want {
		for _, set := range sets {
			out[string(name)] = append(out[string(name)], Hint{Nodes: set, Preferred: set.Count() == least})
		}
	}
	return out
}

// violates reports whether a node cannot be used with this set of nodes.
func violates(n *nodeUse, set Mask) bool {
	if set.Count() == 1 {
		return n.group.Count() > 1
	}
	return n.count > 0 && n.group != set
}

func lacks(have, want, more amounts) bool {
	for name, n := range want {
		if have[name]+more[name] < n {
			return true
		}
	}
	return false
}

// Allocate implements Provider.
func (m *memory) Allocate(pod *corev1.Pod, c *corev1.Container, on Hint) error {
	want := memoryOf(pod, c)
	if len(want) == 0 {
		return nil
	}
	uid := string(pod.UID)
	if has, ok := m.state.Memory[uid][c.Name]; ok {
		m.noteReusable(pod, c, has)
		return nil
	}
	set, err := m.choose(want, on)
	if err != nil {
		return err
	}
	var blocks []Block
	for _, name := range slices.Sorted(maps.Keys(want)) {
		blocks = append(blocks, Block{Nodes: set, Resource: name, Size: want[name]})
	}
	m.noteReusable(pod, c, blocks)
	m.shrinkInit(pod, c, blocks)
	if m.state.Memory[uid] == nil {
		m.state.Memory[uid] = make(map[string][]Block)
	}
	m.state.Memory[uid][c.Name] = blocks
	return nil
}

// choose decides on which nodes memory is given: those of the hint, or more where
// they do not have enough. The texts are the kubelet's.
func (m *memory) choose(want amounts, on Hint) (Mask, error) {
	set := on.Nodes
	if set == 0 {
		best, ok := bestOf(m.hints(want)[string(corev1.ResourceMemory)], 0)
		switch {
		case !ok:
			return 0, errors.New("[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available")
		case !best.Preferred && on.Preferred:
			return 0, errors.New("[memorymanager] failed to find the default preferred hint")
		}
		set = best.Nodes
	}
	use, free := m.use(), make(amounts)
	for _, id := range set.Nodes() {
		for name := range want {
			free[name] += use[id].free[name]
		}
	}
	if lacks(free, want, m.reusable[set]) {
		best, ok := bestOf(m.hints(want)[string(corev1.ResourceMemory)], set)
		switch {
		case !ok:
			return 0, errors.New("[memorymanager] failed to find NUMA nodes to extend the current topology hint")
		case !best.Preferred && on.Preferred:
			return 0, errors.New("[memorymanager] failed to find the extended preferred hint")
		}
		set = best.Nodes
	}
	for _, id := range set.Nodes() {
		if set.Count() > 1 && violates(use[id], set) {
			return 0, errors.New("[memorymanager] preferred hint violates NUMA node allocation")
		}
	}
	return set, nil
}

// bestOf is the narrowest hint that has some nodes, a preferred one if there is one.
func bestOf(hints []Hint, with Mask) (best Hint, ok bool) {
	for _, h := range hints {
		if h.Nodes&with != with {
			continue
		}
		if !ok || h.Preferred && !best.Preferred || h.Preferred == best.Preferred && h.Nodes.narrower(best.Nodes) {
			best, ok = h, true
		}
	}
	return best, ok
}

// noteReusable notes what an init container leaves to those after it, or what one of
// those takes of that.
func (m *memory) noteReusable(pod *corev1.Pod, c *corev1.Container, blocks []Block) {
	isInit, sidecar := role(pod, c.Name)
	for _, b := range blocks {
		if m.reusable[b.Nodes] == nil {
			m.reusable[b.Nodes] = make(amounts)
		}
		left := m.reusable[b.Nodes]
		if isInit && !sidecar {
			left[b.Resource] = max(left[b.Resource], b.Size)
		} else {
			left[b.Resource] -= min(left[b.Resource], b.Size)
		}
	}
}

// shrinkInit takes what a container uses again off the init containers before it, so
// that it counts once.
func (m *memory) shrinkInit(pod *corev1.Pod, c *corev1.Container, blocks []Block) {
	held := m.state.Memory[string(pod.UID)]
	for _, b := range blocks {
		for i := range pod.Spec.InitContainers {
			before := &pod.Spec.InitContainers[i]
			if before.Name == c.Name {
				break
			}
			if podspec.IsSidecar(before) {
				continue
			}
			has := slices.Clone(held[before.Name])
			for j := range has {
				if has[j].Nodes == b.Nodes && has[j].Resource == b.Resource {
					part := min(has[j].Size, b.Size)
					has[j].Size -= part
					b.Size -= part
				}
			}
			if len(has) > 0 {
				held[before.Name] = has
			}
		}
	}
}

// Release implements Provider: the Allocator takes the whole State back.
func (m *memory) Release(*corev1.Pod) {}

// check refuses blocks that the machine does not have.
func (m *memory) check() error {
	for uid, containers := range m.state.Memory {
		for name, blocks := range containers {
			for _, b := range blocks {
				if b.Nodes == 0 || b.Nodes&^m.m.allNodes() != 0 {
					return fmt.Errorf("container %s of pod %s has memory on nodes %v, and the machine has nodes %v", name, uid, b.Nodes.Nodes(), m.m.allNodes().Nodes())
				}
				for _, id := range b.Nodes.Nodes() {
					if _, ok := m.m.Nodes[id].Memory[b.Resource]; !ok {
						return fmt.Errorf("container %s of pod %s has %s, which node %d does not have", name, uid, b.Resource, id)
					}
				}
			}
		}
	}
	return nil
}
