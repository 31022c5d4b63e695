package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/cpuset"

	"github.com/edgekit/edgekit/edged/internal/durable"
)

// State is what containers have, by the uid of the pod and the name of the container.
type State struct {
	Shared cpuset.CPUSet // what all others run on
	CPUs   map[string]map[string]cpuset.CPUSet
	Memory map[string]map[string][]Block
}

// clone is a copy that shares nothing which changes.
func (s State) clone() State {
	out := State{Shared: s.Shared, CPUs: make(map[string]map[string]cpuset.CPUSet), Memory: make(map[string]map[string][]Block)}
	for uid, containers := range s.CPUs {
		out.CPUs[uid] = maps.Clone(containers)
	}
	for uid, containers := range s.Memory {
		out.Memory[uid] = maps.Clone(containers) // blocks are replaced, never changed
	}
	return out
}

func (s *State) setCPUs(uid, name string, set cpuset.CPUSet) {
	if s.CPUs[uid] == nil {
		s.CPUs[uid] = make(map[string]cpuset.CPUSet)
	}
	s.CPUs[uid][name] = set
}

func (s *State) releaseMemory(uid, name string) bool {
	if _, ok := s.Memory[uid][name]; !ok {
		return false
	}
	delete(s.Memory[uid], name)
	if len(s.Memory[uid]) == 0 {
		delete(s.Memory, uid)
	}
	return true
}

// stateFormat is the version of the file.
const stateFormat = 1

// maxState is the size in bytes of the largest file that is read. That of a node with
// a thousand containers has a tenth of it.
const maxState = 1 << 20

// stateFile is a State as it is in a file. Sets are lists such as "0-3,8".
type stateFile struct {
	Format        int                                `json:"format"`
	DefaultCPUSet string                             `json:"defaultCpuSet"`
	CPUs          map[string]map[string]string       `json:"cpus,omitempty"`
	Memory        map[string]map[string][]blockState `json:"memory,omitempty"`
}

type blockState struct {
	Nodes    []int               `json:"numaNodes"`
	Resource corev1.ResourceName `json:"type"`
	Size     uint64              `json:"size"`
}

// Load reads a State from a file; false if there is none.
func Load(name string) (State, bool, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, false, nil
	}
	if err != nil {
		return State{}, false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return State{}, false, err
	}
	s, err := Parse(text)
	return s, err == nil, err
}

// Parse reads a State.
func Parse(text []byte) (State, error) {
	var in stateFile
	if len(text) > maxState {
		return State{}, fmt.Errorf("longer than %d bytes", maxState)
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return State{}, err
	}
	if in.Format != stateFormat {
		return State{}, fmt.Errorf("format %d is not known, only %d", in.Format, stateFormat)
	}
	out := State{CPUs: make(map[string]map[string]cpuset.CPUSet), Memory: make(map[string]map[string][]Block)}
	var err error
	if out.Shared, err = ParseCPUs(in.DefaultCPUSet); err != nil {
		return State{}, fmt.Errorf("defaultCpuSet: %w", err)
	}
	for uid, containers := range in.CPUs {
		for name, text := range containers {
			set, err := ParseCPUs(text)
			if err != nil || set.IsEmpty() {
				return State{}, fmt.Errorf("container %s of pod %s: %q is no list of CPUs", name, uid, text)
			}
			out.setCPUs(uid, name, set)
		}
	}
	for uid, containers := range in.Memory {
		out.Memory[uid] = make(map[string][]Block)
		for name, blocks := range containers {
			for _, b := range blocks {
				for _, n := range b.Nodes {
					if n < 0 || n >= maxNodes {
						return State{}, fmt.Errorf("container %s of pod %s: there is no NUMA node %d", name, uid, n)
					}
				}
				out.Memory[uid][name] = append(out.Memory[uid][name], Block{Nodes: MaskOf(b.Nodes...), Resource: b.Resource, Size: b.Size})
			}
		}
	}
	return out, nil
}

// ParseCPUs reads a list of CPUs, such as "0-3,8". It is bounded before it is expanded: "0-99999999" is
// short.
func ParseCPUs(text string) (cpuset.CPUSet, error) {
	number, digits := 0, 0
	for _, r := range text {
		if r < '0' || r > '9' {
			number, digits = 0, 0
			continue
		}
		if number, digits = number*10+int(r-'0'), digits+1; digits > 5 || number > maxCPU {
			return cpuset.New(), fmt.Errorf("there is no CPU above %d", maxCPU)
		}
	}
	return cpuset.Parse(text)
}

// maxCPU is the highest number of a CPU that the kernel can be built for (NR_CPUS).
const maxCPU = 8191

// Store writes the State into a file. A crash leaves the old one or the new one; the
// new one is durable when Store returns.
func (s State) Store(name string) error {
	out := stateFile{Format: stateFormat, DefaultCPUSet: s.Shared.String(), CPUs: make(map[string]map[string]string), Memory: make(map[string]map[string][]blockState)}
	for uid, containers := range s.CPUs {
		out.CPUs[uid] = make(map[string]string)
		for name, set := range containers {
			out.CPUs[uid][name] = set.String()
		}
	}
	for uid, containers := range s.Memory {
		out.Memory[uid] = make(map[string][]blockState)
		for name, blocks := range containers {
			list := []blockState{}
			for _, b := range blocks {
				list = append(list, blockState{b.Nodes.Nodes(), b.Resource, b.Size})
			}
			out.Memory[uid][name] = list
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return durable.WriteFile(name, text)
}

// Empty reports whether no container has anything of its own.
func (s State) Empty() bool { return len(s.CPUs) == 0 && len(s.Memory) == 0 }
