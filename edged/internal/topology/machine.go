package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/cpuset"
)

// CPU says where a logical CPU is. A core, a cache and a socket are named by the lowest
// CPU in them.
type CPU struct{ Core, Cache, Socket, Node int }

// Node is a NUMA node.
type Node struct {
	// Memory has its bytes of memory, huge pages included, and those of each size of
	// huge pages.
	Memory    map[corev1.ResourceName]uint64
	Distances map[int]uint64 // to each node, by the kernel's measure; 10 is itself
}

// Machine is the CPUs that are online and the NUMA nodes of a machine. It is not
// changed once it was made.
type Machine struct {
	CPUs  map[int]CPU
	Nodes map[int]Node
}

// maxNodes is how many NUMA nodes a Mask can hold.
const maxNodes = 64

// Read reads the machine from the root of a file system like /sys. A machine whose
// kernel knows no NUMA nodes has one, with so many bytes of memory.
func Read(sys fs.FS, memory uint64) (*Machine, error) {
	online, err := readSet(sys, "devices/system/cpu/online")
	if err != nil {
		return nil, fmt.Errorf("edged: cannot read the CPUs of the machine: %w", err)
	}
	if online.IsEmpty() {
		return nil, errors.New("edged: the kernel lists no CPU that is online")
	}
	m := &Machine{CPUs: make(map[int]CPU), Nodes: make(map[int]Node)}
	for _, id := range online.List() {
		if m.CPUs[id], err = readCPU(sys, id, online); err != nil {
			return nil, fmt.Errorf("edged: cannot read where CPU %d is: %w", id, err)
		}
	}
	nodes, err := readSet(sys, "devices/system/node/online")
	if errors.Is(err, fs.ErrNotExist) {
		m.Nodes[0] = Node{Memory: map[corev1.ResourceName]uint64{corev1.ResourceMemory: memory}, Distances: map[int]uint64{0: 10}}
		return m, readHugePages(sys, "kernel/mm/hugepages", m.Nodes[0])
	}
	if err != nil {
		return nil, fmt.Errorf("edged: cannot read the NUMA nodes of the machine: %w", err)
	}
	for _, id := range nodes.List() {
		if id >= maxNodes {
			return nil, fmt.Errorf("edged: NUMA node %d: at most %d nodes are supported", id, maxNodes)
		}
		if err := m.readNode(sys, id, nodes.List()); err != nil {
			return nil, fmt.Errorf("edged: cannot read NUMA node %d: %w", id, err)
		}
	}
	return m, nil
}

// readCPU reads the core, the last cache and the socket of a CPU.
func readCPU(sys fs.FS, id int, online cpuset.CPUSet) (CPU, error) {
	dir := fmt.Sprintf("devices/system/cpu/cpu%d", id)
	lowest := func(names ...string) (int, error) {
		for _, name := range names {
			set, err := readSet(sys, path.Join(dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, err
			}
			if set = set.Intersection(online); set.Contains(id) {
				return set.List()[0], nil
			}
		}
		return id, nil // the kernel does not say: it is alone
	}
	var c CPU
	var err error
	// The second names are those of kernels before 5.3.
	if c.Core, err = lowest("topology/core_cpus_list", "topology/thread_siblings_list"); err != nil {
		return c, err
	}
	if c.Socket, err = lowest("topology/package_cpus_list", "topology/core_siblings_list"); err != nil {
		return c, err
	}
	c.Cache = c.Socket // without a third level, as in a kubelet
	for i := range 8 {
		index := fmt.Sprintf("cache/index%d", i)
		level, err := readText(sys, path.Join(dir, index, "level"))
		if err != nil {
			break
		}
		if level == "3" {
			if c.Cache, err = lowest(path.Join(index, "shared_cpu_list")); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// readNode reads a NUMA node, and that its CPUs are on it.
func (m *Machine) readNode(sys fs.FS, id int, all []int) error {
	dir := fmt.Sprintf("devices/system/node/node%d", id)
	cpus, err := readSet(sys, path.Join(dir, "cpulist"))
	if err != nil {
		return err
	}
	for _, n := range cpus.List() {
		if c, ok := m.CPUs[n]; ok {
			c.Node = id
			m.CPUs[n] = c
		}
	}
	n := Node{Memory: make(map[corev1.ResourceName]uint64), Distances: make(map[int]uint64)}
	text, err := readText(sys, path.Join(dir, "meminfo"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		// Node 0 MemTotal:       16384000 kB
		if f := strings.Fields(line); len(f) >= 4 && f[2] == "MemTotal:" {
			kib, err := strconv.ParseUint(f[3], 10, 54)
			if err != nil {
				return err
			}
			n.Memory[corev1.ResourceMemory] = kib << 10
		}
	}
	if text, err = readText(sys, path.Join(dir, "distance")); err == nil {
		for i, f := range strings.Fields(text) {
			if d, err := strconv.ParseUint(f, 10, 32); err == nil && i < len(all) {
				n.Distances[all[i]] = d
			}
		}
	}
	m.Nodes[id] = n
	return readHugePages(sys, path.Join(dir, "hugepages"), n)
}

// readHugePages reads the bytes of each size of huge pages. A kernel without them has
// no such folder.
func readHugePages(sys fs.FS, dir string, n Node) error {
	entries, err := fs.ReadDir(sys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		var kib uint64
		if _, err := fmt.Sscanf(e.Name(), "hugepages-%dkB", &kib); err != nil || kib == 0 {
			continue
		}
		text, err := readText(sys, path.Join(dir, e.Name(), "nr_hugepages"))
		if err != nil {
			return err
		}
		count, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return err
		}
		size := resource.NewQuantity(int64(kib)<<10, resource.BinarySI)
		n.Memory[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size.String())] = count * kib << 10
	}
	return nil
}

func readText(sys fs.FS, name string) (string, error) {
	text, err := fs.ReadFile(sys, name)
	return strings.TrimSpace(string(text)), err
}

func readSet(sys fs.FS, name string) (cpuset.CPUSet, error) {
	text, err := readText(sys, name)
	if err != nil {
		return cpuset.New(), err
	}
	set, err := ParseCPUs(text)
	if err != nil {
		return cpuset.New(), fmt.Errorf("%s: %w", name, err)
	}
	return set, nil
}

// All is the CPUs of the machine.
func (m *Machine) All() cpuset.CPUSet {
	return m.where(func(CPU) bool { return true })
}

// where is the CPUs that a function chooses.
func (m *Machine) where(fn func(CPU) bool) cpuset.CPUSet {
	var ids []int
	for id, c := range m.CPUs {
		if fn(c) {
			ids = append(ids, id)
		}
	}
	return cpuset.New(ids...)
}

// onNodes is the CPUs of some NUMA nodes.
func (m *Machine) onNodes(nodes Mask) cpuset.CPUSet {
	return m.where(func(c CPU) bool { return nodes.Has(c.Node) })
}

// count is how many different groups the CPUs are in.
func (m *Machine) count(of level) int {
	seen := make(map[int]bool)
	for _, c := range m.CPUs {
		seen[of(c)] = true
	}
	return len(seen)
}

// threads is how many CPUs a core has: on a machine with two kinds of cores the mean,
// rounded down, as in a kubelet.
func (m *Machine) threads() int { return max(len(m.CPUs)/m.count(core), 1) }

// nodesWithCPUs are the NUMA nodes that have CPUs.
func (m *Machine) nodesWithCPUs() []int {
	seen := make(map[int]bool)
	for _, c := range m.CPUs {
		seen[c.Node] = true
	}
	return sortedKeys(seen)
}

// allNodes is the mask of all NUMA nodes.
func (m *Machine) allNodes() Mask { return MaskOf(sortedKeys(m.Nodes)...) }

func sortedKeys[V any](m map[int]V) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
