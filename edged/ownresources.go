package edged

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/topology"
)

// MemoryBlock is memory, or huge pages of a size, of a set of NUMA nodes.
type MemoryBlock struct {
	Type  string // memory, or hugepages-SIZE
	Size  uint64 // bytes
	Nodes []int  // lowest first
}

// ActivePods lists the pods that hold resources of the node. They are shared and must not
// be changed.
func (a *Agent) ActivePods() []*corev1.Pod { return a.heldPods() }

// OwnResources is what a container of a pod has alone: CPUs, lowest first, and memory. Both
// are empty without a policy that gives them (Config.Topology), and before the Agent is ready.
func (a *Agent) OwnResources(uid, container string) (cpus []int, memory []MemoryBlock) {
	a.withPlacement(func(alloc *topology.Allocator) {
		if set, own := alloc.CPUs(uid, container); own {
			cpus = set.List()
		}
		memory = blocks(alloc.Memory(uid, container))
	})
	return cpus, memory
}

// AllocatableResources is what containers can have alone, given or not, as OwnResources.
func (a *Agent) AllocatableResources() (cpus []int, memory []MemoryBlock) {
	a.withPlacement(func(alloc *topology.Allocator) {
		cpus, memory = alloc.AllocatableCPUs().List(), blocks(alloc.AllocatableMemory())
	})
	return cpus, memory
}

// withPlacement calls fn with what gives out CPUs and memory, if there is any.
func (a *Agent) withPlacement(fn func(*topology.Allocator)) {
	select {
	case <-a.ready: // from here on the placement is set
	default:
		return
	}
	if p := a.placement; p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		fn(p.alloc)
	}
}

func blocks(list []topology.Block) []MemoryBlock {
	var out []MemoryBlock
	for _, b := range list {
		out = append(out, MemoryBlock{Type: string(b.Resource), Size: b.Size, Nodes: b.Nodes.Nodes()})
	}
	return out
}
