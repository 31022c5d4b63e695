package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/cpuset"
)

// Error is why a pod is not admitted, in the words of its status.
type Error struct{ Reason, Message string }

func (e *Error) Error() string { return e.Message }

// The kubelet's reasons of rejections besides reasonSMT.
const (
	reasonTopology   = "TopologyAffinityError"
	reasonUnexpected = "UnexpectedAdmissionError"
)

// defaultMaxNodes is the kubelet's defaultMaxAllowableNUMANodes: to try all sets of
// more nodes takes long.
const defaultMaxNodes = 8

// Config sets up an Allocator. Machine is required.
type Config struct {
	Machine *Machine
	// CPUs says whether containers get CPUs of their own (the CPU manager's policy
	// static), with Options.
	CPUs    bool
	Options CPUOptions
	// ReservedCPUs are never given to one container; if it is empty, so many as
	// ReservedCount says.
	ReservedCPUs  cpuset.CPUSet
	ReservedCount int
	// Memory says whether containers get memory of NUMA nodes (the memory manager's
	// policy Static). ReservedMemory is what pods cannot have of each node.
	Memory         bool
	ReservedMemory map[int]map[corev1.ResourceName]uint64

	Policy   Policy // how what a container gets is aligned; "" means PolicyNone
	PodScope bool   // pods are aligned as a whole, not container by container
	Closest  bool   // prefer-closest-numa-nodes
	MaxNodes int    // max-allowable-numa-nodes; 0 means 8
	// Providers give out what else has a place in the machine. They come before CPUs
	// and memory, as devices do in a kubelet.
	Providers []Provider
}

// Allocator gives CPUs and memory to containers. Its methods must not be called at the
// same time.
type Allocator struct {
	cfg       Config
	state     State
	cpus      *cpus   // nil without the policy
	memory    *memory // nil without the policy
	providers []Provider
}

// New checks cfg against the machine and makes an Allocator that has given nothing.
func New(cfg Config) (*Allocator, error) {
	most := cfg.MaxNodes
	if most == 0 {
		most = defaultMaxNodes
	}
	if aligned := cfg.Policy != "" && cfg.Policy != PolicyNone; aligned && len(cfg.Machine.Nodes) > most {
		return nil, fmt.Errorf("edged: the topology manager policy %s is not supported on a machine with more than %d NUMA nodes, and this one has %d: use --topology-manager-policy none, or raise the option max-allowable-numa-nodes", cfg.Policy, most, len(cfg.Machine.Nodes))
	}
	a := &Allocator{cfg: cfg, providers: slices.Clone(cfg.Providers)}
	if cfg.CPUs {
		a.cpus = &cpus{m: cfg.Machine, options: cfg.Options, state: &a.state}
		if err := a.cpus.reserve(cfg.ReservedCPUs, cfg.ReservedCount); err != nil {
			return nil, err
		}
		a.providers = append(a.providers, a.cpus)
	}
	if cfg.Memory {
		reserved := make(map[int]amounts)
		for id, list := range cfg.ReservedMemory {
			if _, ok := cfg.Machine.Nodes[id]; !ok {
				return nil, fmt.Errorf("edged: --reserved-memory names NUMA node %d: the machine has nodes %v", id, sortedKeys(cfg.Machine.Nodes))
			}
			reserved[id] = list
		}
		a.memory = &memory{m: cfg.Machine, reserved: reserved, state: &a.state}
		a.providers = append(a.providers, a.memory)
	}
	a.state = a.empty()
	return a, nil
}

// empty is the state in which nothing is given.
func (a *Allocator) empty() State {
	s := State{CPUs: make(map[string]map[string]cpuset.CPUSet), Memory: make(map[string]map[string][]Block)}
	if a.cpus != nil {
		s.Shared = a.cpus.poolAtFirst()
	}
	return s
}

// State is a copy of what is given.
func (a *Allocator) State() State { return a.state.clone() }

// Restore takes over what was given before. A state that this machine, or these
// settings, cannot have is an error, and nothing changes.
func (a *Allocator) Restore(s State) error {
	s = s.clone()
	if a.cpus == nil && len(s.CPUs) > 0 || a.memory == nil && len(s.Memory) > 0 {
		return errors.New("it was written with another policy, and pods still have what that gave them")
	}
	if a.cpus != nil {
		if s.Shared.IsEmpty() && len(s.CPUs) == 0 {
			s.Shared = a.cpus.poolAtFirst()
		}
		if err := a.cpus.check(s); err != nil {
			return err
		}
	} else {
		s.Shared = cpuset.New()
	}
	before := a.state
	a.state = s
	if a.memory == nil {
		return nil
	}
	if err := a.memory.check(); err != nil {
		a.state = before
		return err
	}
	return nil
}

// check refuses CPUs that the machine does not have, are given twice, or are lost.
func (c *cpus) check(s State) error {
	all, known := c.poolAtFirst(), s.Shared
	kept := s.Shared.Intersection(c.reserved)
	switch {
	case s.Shared.IsEmpty():
		return errors.New("the shared pool is empty")
	case c.options.Strict && !kept.IsEmpty():
		return fmt.Errorf("CPUs %s are strictly reserved, and in the shared pool %s", kept, s.Shared)
	case !c.options.Strict && !kept.Equals(c.reserved):
		return fmt.Errorf("not all of the reserved CPUs %s are in the shared pool %s", c.reserved, s.Shared)
	}
	given := cpuset.New()
	for uid, containers := range s.CPUs {
		ofPod := cpuset.New()
		for name, set := range containers {
			if both := set.Intersection(s.Shared); !both.IsEmpty() {
				return fmt.Errorf("container %s of pod %s has CPUs %s, which are in the shared pool %s too", name, uid, set, s.Shared)
			}
			ofPod = ofPod.Union(set)
		}
		if both := ofPod.Intersection(given); !both.IsEmpty() {
			return fmt.Errorf("pod %s has CPUs %s, which another pod has too", uid, both)
		}
		given = given.Union(ofPod)
	}
	if known = known.Union(given); !known.Equals(all) {
		return fmt.Errorf("it divides CPUs %s, and pods can have %s", known, all)
	}
	return nil
}

// Admit gives each container of a pod what it asks for, or says why it cannot: nothing
// is given then. What the containers have already stays theirs.
func (a *Allocator) Admit(pod *corev1.Pod) *Error {
	before := a.state.clone()
	if a.cpus != nil {
		a.cpus.reusable = cpuset.New()
	}
	if a.memory != nil {
		a.memory.reusable = make(map[Mask]amounts)
	}
	err := a.admit(pod)
	if err == nil {
		return nil
	}
	a.state = before
	for _, p := range a.providers {
		p.Release(pod)
	}
	var refused *Error
	if errors.As(err, &refused) {
		return refused
	}
	return &Error{reasonUnexpected, fmt.Sprintf("Allocate failed due to %v, which is unexpected", err)}
}

func (a *Allocator) admit(pod *corev1.Pod) error {
	g := merger{policy: a.cfg.Policy, closest: a.cfg.Closest, m: a.cfg.Machine}
	aligned := g.policy != "" && g.policy != PolicyNone
	var hint Hint
	for i, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if aligned && (i == 0 || !a.cfg.PodScope) {
			var all []map[string][]Hint
			for _, p := range a.providers {
				if a.cfg.PodScope {
					all = append(all, p.PodHints(pod))
				} else {
					all = append(all, p.Hints(pod, &c))
				}
			}
			var ok bool
			if hint, ok = g.merge(all); !ok {
				return &Error{reasonTopology, "Resources cannot be allocated with Topology locality"}
			}
		}
		for _, p := range a.providers {
			if err := p.Allocate(pod, &c, hint); err != nil {
				return err
			}
		}
	}
	return nil
}

// Release takes back what is not to be kept, and says whether that was anything.
func (a *Allocator) Release(keep func(uid, container string) bool) (changed bool) {
	for uid, containers := range a.state.CPUs {
		for name := range containers {
			if !keep(uid, name) {
				a.state.releaseCPUs(uid, name)
				changed = true
			}
		}
	}
	for uid, containers := range a.state.Memory {
		for name := range containers {
			if !keep(uid, name) {
				a.state.releaseMemory(uid, name)
				changed = true
			}
		}
	}
	return changed
}

// Started takes back the memory of the init containers before one that starts: they
// have ended. It says whether that was any.
func (a *Allocator) Started(pod *corev1.Pod, container string) (changed bool) {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.Name == container {
			break
		}
		if _, sidecar := role(pod, c.Name); !sidecar && a.state.releaseMemory(string(pod.UID), c.Name) {
			changed = true
		}
	}
	return changed
}

// CPUs is what a container may run on: CPUs of its own, or else the shared pool. Without
// the policy it is empty, which is no bound.
func (a *Allocator) CPUs(uid, container string) (set cpuset.CPUSet, own bool) {
	if set, own = a.state.CPUs[uid][container]; own {
		return set, true
	}
	return a.state.Shared, false
}

// OwnCPUs reports whether a container of a pod has CPUs of its own.
func (a *Allocator) OwnCPUs(uid string) bool { return len(a.state.CPUs[uid]) > 0 }

// Nodes lists the NUMA nodes whose memory a container may use; none is no bound.
func (a *Allocator) Nodes(uid, container string) []int {
	var set Mask
	for _, b := range a.state.Memory[uid][container] {
		set |= b.Nodes
	}
	return set.Nodes()
}

// Memory lists the memory that a container has on NUMA nodes. It must not be changed.
func (a *Allocator) Memory(uid, container string) []Block { return a.state.Memory[uid][container] }

// AllocatableCPUs are the CPUs that containers can have alone, given or not; none without
// the policy.
func (a *Allocator) AllocatableCPUs() cpuset.CPUSet {
	if a.cpus == nil {
		return cpuset.New()
	}
	return a.cfg.Machine.All().Difference(a.cpus.reserved)
}

// AllocatableMemory is the memory that containers can have of each NUMA node, given or not;
// none without the policy.
func (a *Allocator) AllocatableMemory() []Block {
	if a.memory == nil {
		return nil
	}
	var out []Block
	for _, id := range sortedKeys(a.cfg.Machine.Nodes) {
		all := a.memory.allocatable(id)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if size := all[name]; size > 0 {
				out = append(out, Block{Nodes: MaskOf(id), Resource: name, Size: size})
			}
		}
	}
	return out
}
