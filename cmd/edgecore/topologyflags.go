package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
)

// topologyFlags are the settings of which containers get CPUs and memory of their own.
// They have the names of the kubelet's flags.
type topologyFlags struct {
	CPUManagerPolicy             string            `help:"Whether containers of Guaranteed pods that request whole CPUs have them alone: none, or static (needs CPUs that are reserved)." default:"none" enum:"none,static" name:"cpu-manager-policy"`
	CPUManagerPolicyOptions      map[string]string `help:"Options of the static policy: full-pcpus-only, distribute-cpus-across-numa, strict-cpu-reservation, prefer-align-cpus-by-uncorecache." mapsep:"," placeholder:"full-pcpus-only=true" name:"cpu-manager-policy-options"`
	CPUManagerReconcilePeriod    time.Duration     `help:"How often CPUs of pods that have ended are given to the others." default:"10s" name:"cpu-manager-reconcile-period"`
	ReservedCPUs                 string            `help:"CPUs that no container has alone. Their number takes the place of the cpu in --system-reserved and --kube-reserved." placeholder:"0-1" name:"reserved-cpus"`
	MemoryManagerPolicy          string            `help:"Whether the memory of Guaranteed pods is on as few NUMA nodes as possible: None, or Static (needs --reserved-memory)." default:"None" enum:"None,Static"`
	ReservedMemory               []string          `help:"What pods may not use of each NUMA node: in sum what --system-reserved, --kube-reserved and --eviction-hard keep." sep:";" placeholder:"0:memory=500Mi;1:memory=100Mi"`
	TopologyManagerPolicy        string            `help:"How CPUs, memory and devices of a container are aligned to NUMA nodes: none, best-effort, restricted or single-numa-node." default:"none" enum:"none,best-effort,restricted,single-numa-node"`
	TopologyManagerScope         string            `help:"What is aligned as a whole: container or pod." default:"container" enum:"container,pod"`
	TopologyManagerPolicyOptions map[string]string `help:"Options of the topology manager: prefer-closest-numa-nodes, max-allowable-numa-nodes." mapsep:"," placeholder:"prefer-closest-numa-nodes=true"`
}

// topology are the settings as the agent takes them. What values may be is checked
// there.
func (f *topologyFlags) topology() (edged.Topology, error) {
	out := edged.Topology{
		CPUManagerPolicy: f.CPUManagerPolicy, CPUManagerPolicyOptions: f.CPUManagerPolicyOptions, CPUManagerReconcilePeriod: f.CPUManagerReconcilePeriod,
		ReservedSystemCPUs: f.ReservedCPUs, MemoryManagerPolicy: f.MemoryManagerPolicy, TopologyManagerPolicy: f.TopologyManagerPolicy,
		TopologyManagerScope: f.TopologyManagerScope, TopologyManagerPolicyOptions: f.TopologyManagerPolicyOptions,
	}
	for _, text := range f.ReservedMemory {
		wrong := &program.UsageError{Setting: "reserved-memory", Reason: fmt.Sprintf("%q: want NODE:memory=QUANTITY, such as 0:memory=500Mi", text)}
		number, rest, ok := strings.Cut(text, ":")
		node, err := strconv.Atoi(number)
		if !ok || err != nil {
			return out, wrong
		}
		limits := make(map[string]string)
		for _, part := range strings.Split(rest, ",") {
			name, quantity, ok := strings.Cut(part, "=")
			if !ok {
				return out, wrong
			}
			limits[name] = quantity
		}
		list, err := quantities("reserved-memory", limits)
		if err != nil {
			return out, err
		}
		out.ReservedMemory = append(out.ReservedMemory, edged.NodeMemory{NUMANode: node, Limits: list})
	}
	return out, nil
}
