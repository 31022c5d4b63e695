package edged

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/admission"
	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/placement"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/topology"
	"github.com/edgekit/edgekit/edged/runtime"
)

// placementFile is the file below Config.Root that says which CPUs and memory containers
// have, as the kubelet's cpu_manager_state and memory_manager_state.
const placementFile = "cpu_manager_state"

// openPlacement reads the machine, and what an agent before this one gave away. What
// does not fit refuses to run: pods would share what they have alone.
func (a *Agent) openPlacement() error {
	file := filepath.Join(a.cfg.Root, placementFile)
	state, found, err := topology.Load(file)
	remedy := fmt.Sprintf("drain the node and remove %s, or go back to the settings and the machine that it was written with", file)
	if err != nil {
		return fmt.Errorf("edged: cannot read which CPUs and memory containers have: %s: %w: %s", file, err, remedy)
	}
	if !a.cfg.Topology.on() {
		if !found {
			return nil
		}
		if !state.Empty() {
			return fmt.Errorf("edged: %s says that containers have CPUs or memory alone, and no policy does that now (--cpu-manager-policy, --memory-manager-policy): %s", file, remedy)
		}
		return os.Remove(file)
	}
	if _, ok := a.cfg.Runtime.(runtime.Resizer); !ok && a.cfg.Topology.pinsCPUs() {
		return errors.New("edged: Config.Topology.CPUManagerPolicy (--cpu-manager-policy) static needs a container runtime that can change the resources of containers: use none, or another runtime")
	}
	cfg, err := a.topologyConfig()
	if err != nil {
		return err
	}
	alloc, err := topology.New(cfg)
	if err != nil {
		return err
	}
	if found {
		// With nothing given away there is nothing to lose: settings may change freely.
		if err := alloc.Restore(state); err != nil && !state.Empty() {
			return fmt.Errorf("edged: %s does not fit: %w: %s", file, err, remedy)
		}
	}
	a.placement = placement.New(placement.Config{
		File: file, Allocator: alloc, Metrics: &a.placed, Runtime: a.cfg.Runtime, PinCPUs: a.cfg.Topology.pinsCPUs(), Period: a.cfg.Topology.CPUManagerReconcilePeriod,
		Ended: a.freePlaces, Pods: a.workedPods, Logger: a.log,
	})
	a.placement.Store()
	return nil
}

// topologyConfig is the settings with the machine's topology.
func (a *Agent) topologyConfig() (topology.Config, error) {
	t := a.cfg.Topology
	capacity := a.node.Capacity()
	sys := t.Sys
	if sys == nil {
		sys = os.DirFS("/sys")
	}
	memory := capacity[corev1.ResourceMemory]
	machine, err := topology.Read(sys, uint64(max(memory.Value(), 0)))
	if err != nil {
		return topology.Config{}, err
	}
	options, err := t.cpuOptions()
	if err != nil {
		return topology.Config{}, err
	}
	closest, most, err := t.alignment()
	if err != nil {
		return topology.Config{}, err
	}
	reserved := a.cfg.reserved()
	cpu := reserved[corev1.ResourceCPU]
	cfg := topology.Config{
		Machine: machine, CPUs: t.pinsCPUs(), Options: options, ReservedCPUs: t.reservedCPUs(), ReservedCount: int((cpu.MilliValue() + 999) / 1000),
		Providers: a.deviceProvider(machine),
		Memory:    t.pinsMemory(), Policy: topology.Policy(t.TopologyManagerPolicy), PodScope: t.TopologyManagerScope == "pod", Closest: closest, MaxNodes: most,
	}
	if !t.pinsMemory() {
		return cfg, nil
	}
	cfg.ReservedMemory, err = a.reservedMemory(reserved, capacity)
	return cfg, err
}

// reservedMemory is what pods may not use of each NUMA node. In sum it must be what
// they may not use of the whole machine, by reservations and by eviction thresholds.
func (a *Agent) reservedMemory(reserved, capacity corev1.ResourceList) (map[int]map[corev1.ResourceName]uint64, error) {
	thresholds, err := a.cfg.Eviction.thresholds()
	if err != nil {
		return nil, err
	}
	whole, kept := reserved[corev1.ResourceMemory], eviction.Reservation(thresholds, capacity)[corev1.ResourceMemory]
	whole.Add(kept)
	out := make(map[int]map[corev1.ResourceName]uint64)
	sum := int64(0)
	for _, n := range a.cfg.Topology.ReservedMemory {
		if out[n.NUMANode] == nil {
			out[n.NUMANode] = make(map[corev1.ResourceName]uint64)
		}
		for name, q := range n.Limits {
			out[n.NUMANode][name] = uint64(q.Value())
			if name == corev1.ResourceMemory {
				sum += q.Value()
			}
		}
	}
	if sum != whole.Value() {
		return nil, fmt.Errorf("edged: Config.Topology.ReservedMemory (--reserved-memory) keeps %d bytes of memory in sum, and the reservations of the node with its hard eviction threshold (--system-reserved, --kube-reserved, --eviction-hard) keep %d: make them equal", sum, whole.Value())
	}
	return out, nil
}

// placeLocked gives the containers of a pod what they ask for, or says why it cannot.
// A pod that runs already is not refused: it runs on beside the others. It needs a.mu.
func (a *Agent) placeLocked(pod *corev1.Pod, runs bool) *plan.Rejection {
	p := a.placement
	if pod.DeletionTimestamp != nil || plan.IsTerminal(pod.Status.Phase) || pod.Name == "" {
		return nil
	}
	a.freeDevicesLocked()
	if p == nil {
		return a.reserveDevices(pod, runs)
	}
	a.freePlacesLocked()
	refused := p.Admit(pod)
	switch {
	case refused == nil:
		return nil
	case runs:
		a.log.Warn("a pod that runs already gets no CPUs, memory and devices of its own", "pod", podspec.Title(pod), "reason", refused.Reason, "err", refused)
		a.events.Pod(pod, corev1.EventTypeWarning, refused.Reason, "the pod runs on without CPUs, memory and devices of its own: "+refused.Message)
		return nil
	}
	return &plan.Rejection{Reason: refused.Reason, Message: admission.MessagePrefix + refused.Message}
}

// freePlacesLocked takes back what pods have that have ended or are no longer the
// node's. A pod that is listed and has no worker yet keeps what it has. It needs a.mu.
func (a *Agent) freePlacesLocked() {
	if a.listed == nil {
		return // which pods are the node's is not known yet
	}
	a.placement.Release(a.keepsLocked())
}

// freePlaces is freePlacesLocked for those who do not hold a.mu.
func (a *Agent) freePlaces() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.freePlacesLocked()
}

// workedPods are the uids of the pods that have a worker.
func (a *Agent) workedPods() map[string]bool {
	known := make(map[string]bool)
	a.eachWorker(func(w *worker) { known[string(w.spec().UID)] = true })
	return known
}

// keepsLocked gives a function that reports whether the pod with a uid keeps what it has of
// the node. It needs a.mu, and so does the function.
func (a *Agent) keepsLocked() func(uid string) bool {
	held := make(map[types.UID]bool)
	for uid, w := range a.workers {
		held[uid] = w.podWithResources() != nil
	}
	return func(uid string) bool {
		if holds, known := held[types.UID(uid)]; known {
			return holds
		}
		return a.listed[types.UID(uid)] || a.orphans[types.UID(uid)] != nil
	}
}
