package edged

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/admission"
	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/topology"
	"github.com/edgekit/edgekit/edged/runtime"
)

// placementFile is the file below Config.Root that says which CPUs and memory containers
// have, as the kubelet's cpu_manager_state and memory_manager_state.
const placementFile = "cpu_manager_state"

// placement gives containers CPUs and memory as edged/internal/topology decides. It
// keeps what it gave in a file, and what others run on up to date in the runtime. An
// Agent without any policy has none.
type placement struct {
	file  string
	dirty chan struct{} // holds a value: containers may have to run elsewhere

	mu       sync.Mutex
	alloc    *topology.Allocator
	unstored bool              // the file differs
	set      map[string]string // the CPUs and nodes last set for containers, by id
}

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
	a.placement = &placement{file: file, dirty: make(chan struct{}, 1), alloc: alloc, unstored: true, set: make(map[string]string)}
	a.placement.store(a)
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
	p.mu.Lock()
	refused := p.alloc.Admit(pod)
	a.placed.Admissions.Add(1)
	if refused != nil {
		a.placed.Refusals.Add(1)
	}
	p.unstored = p.unstored || refused == nil
	p.mu.Unlock()
	p.store(a)
	p.kick()
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
	keeps := a.keepsLocked()
	p := a.placement
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alloc.Release(func(uid, _ string) bool { return keeps(uid) }) {
		p.unstored = true
		p.kick()
	}
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

// kick has the containers looked at soon.
func (p *placement) kick() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// store writes what was given into the file, if that differs. What cannot be written
// is tried again: a crash before it is costs a pod another choice of CPUs.
func (p *placement) store(a *Agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unstored {
		return
	}
	a.placed.Set(p.alloc.State())
	err := os.MkdirAll(filepath.Dir(p.file), 0o750)
	if err == nil {
		err = p.alloc.State().Store(p.file)
	}
	if err != nil {
		a.log.Warn("cannot store which CPUs and memory containers have; trying until it can be", "err", err)
		return
	}
	p.unstored = false
}

// place adds what a container may run on to its resources. The CPU time of one with
// CPUs of its own is not limited besides (DisableCPUQuotaWithExclusiveCPUs).
func (p *placement) place(pod *corev1.Pod, name string, r *runtime.Resources) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	set, own := p.alloc.CPUs(string(pod.UID), name)
	if own {
		r.CPUQuota, r.CPUPeriod = 0, 0
	}
	r.CPUSetCPUs = set.String()
	var nodes []string
	for _, n := range p.alloc.Nodes(string(pod.UID), name) {
		nodes = append(nodes, strconv.Itoa(n))
	}
	r.CPUSetMems = strings.Join(nodes, ",")
}

// podLimits are the limits of a pod's cgroup. The CPU time of a pod with a container
// that has CPUs of its own is not limited.
func (a *Agent) podLimits(pod *corev1.Pod) cgroup.Limits {
	l := a.specs.PodLimits(pod, a.nodeFacts())
	if a.placement.ownsCPUs(pod) {
		l.CPUQuota = -1
	}
	return l
}

func (p *placement) ownsCPUs(pod *corev1.Pod) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alloc.OwnCPUs(string(pod.UID))
}

// created notes what a container was made to run on.
func (p *placement) created(id, cpus string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set[id] = cpus
}

// started notes that a container runs: the init containers before it have ended, and
// what all run on may have changed since it was made.
func (p *placement) started(pod *corev1.Pod, name, id string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unstored = p.alloc.Started(pod, name) || p.unstored
	if set, _ := p.alloc.CPUs(string(pod.UID), name); p.unstored || p.set[id] != set.String() {
		p.kick()
	}
}

// keepPlacement has running containers follow changes of what they may run on, until
// ctx ends, and takes back what pods have that have ended.
func (a *Agent) keepPlacement(ctx context.Context) {
	p := a.placement
	if p == nil {
		return
	}
	period := a.cfg.Topology.CPUManagerReconcilePeriod
	timer := time.NewTimer(0)
	defer timer.Stop()
	failed := false
	for {
		move := failed
		select {
		case <-ctx.Done():
			return
		case <-p.dirty:
			move = true
		case <-timer.C:
			timer.Reset(period)
		}
		a.mu.Lock()
		a.freePlacesLocked()
		a.mu.Unlock()
		p.store(a)
		if !move || !a.cfg.Topology.pinsCPUs() {
			continue
		}
		err := a.moveContainers(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			a.log.Warn("cannot move containers to the CPUs that they are to run on; trying until it can be", "err", err)
		}
		failed = err != nil
	}
}

// moveContainers sets in the runtime what each running container may run on, where that
// differs from what was last set.
func (a *Agent) moveContainers(ctx context.Context) error {
	resizer, ok := a.cfg.Runtime.(runtime.Resizer)
	if !ok {
		return nil // which openPlacement refuses
	}
	list, err := a.cfg.Runtime.ListContainers(ctx, "")
	if err != nil {
		return err
	}
	p := a.placement
	known := make(map[types.UID]bool)
	a.eachWorker(func(w *worker) { known[w.spec().UID] = true })
	there := make(map[string]bool, len(list))
	var errs []error
	for _, c := range list {
		there[c.ID] = true
		if c.State != runtime.ContainerRunning || !known[types.UID(c.PodUID)] {
			continue
		}
		p.mu.Lock()
		set, _ := p.alloc.CPUs(c.PodUID, c.Name)
		cpus, has := set.String(), p.set[c.ID]
		p.mu.Unlock()
		if cpus == "" || cpus == has {
			continue
		}
		if err := resizer.UpdateContainerResources(ctx, c.ID, runtime.Resources{CPUSetCPUs: cpus}); err != nil {
			errs = append(errs, fmt.Errorf("container %q of pod %s: %w", c.Name, c.PodUID, err))
			continue
		}
		p.created(c.ID, cpus)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.set {
		if !there[id] {
			delete(p.set, id)
		}
	}
	return errors.Join(errs...)
}
