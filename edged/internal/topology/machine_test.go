package topology

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/cpuset"
)

// box is a machine as it is sold: nodes, caches and cores are those of each socket.
type box struct {
	sockets, nodes, caches, cores, threads int
	interleaved                            bool // neighbours in number are on different sockets
	memory                                 uint64
}

// The machines of the tests.
var boxes = map[string]box{
	"smt":      {1, 1, 1, 4, 2, false, 16 << 30},  // a desktop CPU with 4 cores and 8 threads
	"plain":    {1, 1, 1, 6, 1, false, 16 << 30},  // 6 cores without SMT
	"two":      {2, 1, 1, 4, 2, true, 32 << 30},   // two sockets, numbered in turn as Xeons are
	"twonosmt": {2, 1, 1, 4, 1, false, 32 << 30},  // two sockets without SMT
	"nps4":     {1, 4, 4, 16, 2, false, 16 << 30}, // an EPYC with four NUMA nodes per socket
	"epyc":     {2, 2, 4, 16, 2, false, 64 << 30}, // two EPYCs with two NUMA nodes each
	"ccd":      {1, 1, 4, 16, 2, false, 64 << 30}, // a Ryzen or EPYC with four L3 caches and one NUMA node
}

// place is where CPU i is, with groups numbered from 0.
func (b box) place(i int) (core, cache, socket, node int) {
	cores := b.cores * b.sockets
	core = i % cores
	socket, in := core/b.cores, core%b.cores
	if b.interleaved {
		socket, in = core%b.sockets, core/b.sockets
	}
	return core, socket*b.caches + in*b.caches/b.cores, socket, socket*b.nodes + in*b.nodes/b.cores
}

// sys is the /sys of the machine.
func (b box) sys() fstest.MapFS {
	n := b.cores * b.sockets * b.threads
	var cores, caches, sockets, nodes = map[int][]int{}, map[int][]int{}, map[int][]int{}, map[int][]int{}
	for i := range n {
		core, cache, socket, node := b.place(i)
		cores[core], caches[cache] = append(cores[core], i), append(caches[cache], i)
		sockets[socket], nodes[node] = append(sockets[socket], i), append(nodes[node], i)
	}
	fs := fstest.MapFS{}
	put := func(name, text string) { fs[name] = &fstest.MapFile{Data: []byte(text + "\n")} }
	list := func(ids []int) string { return cpuset.New(ids...).String() }
	put("devices/system/cpu/online", fmt.Sprintf("0-%d", n-1))
	for i := range n {
		core, cache, socket, _ := b.place(i)
		dir := fmt.Sprintf("devices/system/cpu/cpu%d/", i)
		put(dir+"topology/core_cpus_list", list(cores[core]))
		put(dir+"topology/package_cpus_list", list(sockets[socket]))
		put(dir+"cache/index0/level", "1")
		put(dir+"cache/index1/level", "3")
		put(dir+"cache/index1/shared_cpu_list", list(caches[cache]))
	}
	put("devices/system/node/online", fmt.Sprintf("0-%d", len(nodes)-1))
	for id, cpus := range nodes {
		dir := fmt.Sprintf("devices/system/node/node%d/", id)
		put(dir+"cpulist", list(cpus))
		put(dir+"meminfo", fmt.Sprintf("Node %d MemTotal:  %d kB\nNode %d MemFree: 5 kB", id, b.memory>>10, id))
		var distances []string
		for other := range nodes {
			_ = other
			distances = append(distances, "20")
		}
		for i := range distances {
			if i == id {
				distances[i] = "10"
			} else if i/b.nodes == id/b.nodes {
				distances[i] = "12"
			}
		}
		put(dir+"distance", strings.Join(distances, " "))
		put(dir+"hugepages/hugepages-2048kB/nr_hugepages", "0")
	}
	return fs
}

func machine(t testing.TB, name string) *Machine {
	t.Helper()
	m, err := Read(boxes[name].sys(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRead(t *testing.T) {
	m := machine(t, "epyc")
	if len(m.CPUs) != 64 || m.threads() != 2 || m.count(core) != 32 || m.count(cache) != 8 || m.count(socket) != 2 || m.count(node) != 4 {
		t.Errorf("%d CPUs, %d cores, %d caches, %d sockets, %d nodes", len(m.CPUs), m.count(core), m.count(cache), m.count(socket), m.count(node))
	}
	// CPU 61 is the second thread of core 29, in the second half of the second socket.
	if got, want := m.CPUs[61], (CPU{Core: 29, Cache: 28, Socket: 16, Node: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if n := m.Nodes[3]; n.Memory[corev1.ResourceMemory] != 64<<30 || !reflect.DeepEqual(n.Distances, map[int]uint64{0: 20, 1: 20, 2: 12, 3: 10}) {
		t.Errorf("%+v", n)
	}
}

// bigLittle is the /sys of an RK3399: four small cores and two large ones, no SMT, no
// third level of cache, and a kernel without NUMA. An older one names files otherwise.
func bigLittle() fstest.MapFS {
	fs := fstest.MapFS{
		"devices/system/cpu/online":                         {Data: []byte("0-3,5\n")}, // 4 is offline
		"kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": {Data: []byte("8\n")},
	}
	for i := range 6 {
		dir := fmt.Sprintf("devices/system/cpu/cpu%d/", i)
		cluster := "0-3"
		if i > 3 {
			cluster = "4-5"
		}
		fs[dir+"topology/thread_siblings_list"] = &fstest.MapFile{Data: []byte(fmt.Sprintln(i))}
		fs[dir+"topology/core_siblings_list"] = &fstest.MapFile{Data: []byte(cluster + "\n")}
		fs[dir+"cache/index0/level"] = &fstest.MapFile{Data: []byte("1\n")}
	}
	return fs
}

func TestReadWithoutNUMA(t *testing.T) {
	m, err := Read(bigLittle(), 4<<30)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]CPU{0: {Core: 0}, 1: {Core: 1}, 2: {Core: 2}, 3: {Core: 3}, 5: {Core: 5, Cache: 5, Socket: 5}}
	if !reflect.DeepEqual(m.CPUs, want) || m.threads() != 1 {
		t.Errorf("%+v", m.CPUs)
	}
	if mem := m.Nodes[0].Memory; len(m.Nodes) != 1 || mem[corev1.ResourceMemory] != 4<<30 || mem["hugepages-2Mi"] != 16<<20 {
		t.Errorf("%+v", m.Nodes)
	}
	// Two of the small cores are taken together, and a large one stays whole.
	if got, err := takePacked(m, m.All(), 1, false); err != nil || got.String() != "5" {
		t.Errorf("one: %s, %v", got, err) // the cluster with fewest free CPUs first, as in a kubelet
	}
	if got, err := takePacked(m, m.All(), 4, false); err != nil || got.String() != "0-3" {
		t.Errorf("a cluster: %s, %v", got, err)
	}
}

func TestReadNonsense(t *testing.T) {
	change := func(name, text string) fstest.MapFS {
		fs := boxes["smt"].sys()
		fs[name] = &fstest.MapFile{Data: []byte(text)}
		return fs
	}
	for name, fs := range map[string]fstest.MapFS{
		"nothing":          {},
		"no CPU":           change("devices/system/cpu/online", "\n"),
		"no list":          change("devices/system/cpu/online", "zero"),
		"a huge list":      change("devices/system/cpu/online", "0-99999999"),
		"a core":           change("devices/system/cpu/cpu1/topology/core_cpus_list", "x"),
		"a node":           change("devices/system/node/node0/cpulist", "x"),
		"a node too many":  change("devices/system/node/online", "64"),
		"memory":           change("devices/system/node/node0/meminfo", "Node 0 MemTotal: much kB"),
		"huge pages":       change("devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "many"),
		"a node not there": change("devices/system/node/online", "0-1"),
	} {
		if m, err := Read(fs, 0); err == nil || !strings.HasPrefix(err.Error(), "edged: ") {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// FuzzParse feeds the file that says which CPUs containers have.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format":1,"defaultCpuSet":"0-3","cpus":{"uid":{"c":"4,5"}},"memory":{"uid":{"c":[{"numaNodes":[0],"type":"memory","size":7}]}}}`))
	f.Add([]byte(`{"format":1,"defaultCpuSet":"0-8191"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if !reflect.DeepEqual(s, s.clone()) && !s.Empty() {
			t.Errorf("%+v", s)
		}
	})
}
