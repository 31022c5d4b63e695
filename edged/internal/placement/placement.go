package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/topology"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Config sets up a Placement. All fields are required.
type Config struct {
	File      string // says which CPUs and memory containers have
	Allocator *topology.Allocator
	Metrics   *topology.Metrics
	Runtime   runtime.Runtime // to move containers it must be a runtime.Resizer
	PinCPUs   bool            // containers can have CPUs alone, which the others then leave
	Period    time.Duration   // how often Ended is called, and a failed change is tried again
	// Ended has Release called. Run calls it.
	Ended func()
	// Pods are the uids of the pods whose containers are moved.
	Pods   func() map[string]bool
	Logger *slog.Logger
}

// Placement places the containers of a node. New makes it.
type Placement struct {
	cfg   Config
	guard lifecycle.Guard
	dirty chan struct{} // holds a value: containers may have to run elsewhere

	mu       sync.Mutex
	unstored bool              // the file differs
	set      map[string]string // the CPUs and nodes last set for containers, by id
}

// New makes a Placement. It does no I/O: Store writes the file.
func New(cfg Config) *Placement {
	return &Placement{cfg: cfg, dirty: make(chan struct{}, 1), unstored: true, set: make(map[string]string)}
}

// Admit gives the containers of a pod what they ask for, or says why it cannot.
func (p *Placement) Admit(pod *corev1.Pod) *topology.Error {
	p.mu.Lock()
	refused := p.cfg.Allocator.Admit(pod)
	p.cfg.Metrics.Admissions.Add(1)
	if refused != nil {
		p.cfg.Metrics.Refusals.Add(1)
	}
	p.unstored = p.unstored || refused == nil
	p.mu.Unlock()
	p.Store()
	p.Kick()
	return refused
}

// Release takes back what pods have that keeps reports false for, by their uids.
func (p *Placement) Release(keeps func(uid string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Allocator.Release(func(uid, _ string) bool { return keeps(uid) }) {
		p.unstored = true
		p.Kick()
	}
}

// Kick has the containers looked at soon. It never blocks.
func (p *Placement) Kick() {
	if p == nil {
		return
	}
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// Store writes what was given into the file, if that differs. What cannot be written
// is tried again: a crash before it is costs a pod another choice of CPUs.
func (p *Placement) Store() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unstored {
		return
	}
	p.cfg.Metrics.Set(p.cfg.Allocator.State())
	err := os.MkdirAll(filepath.Dir(p.cfg.File), 0o750)
	if err == nil {
		err = p.cfg.Allocator.State().Store(p.cfg.File)
	}
	if err != nil {
		p.cfg.Logger.Warn("cannot store which CPUs and memory containers have; trying until it can be", "err", err)
		return
	}
	p.unstored = false
}

// Place adds what a container may run on to its resources. The CPU time of one with
// CPUs of its own is not limited besides (DisableCPUQuotaWithExclusiveCPUs).
func (p *Placement) Place(pod *corev1.Pod, name string, r *runtime.Resources) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	set, own := p.cfg.Allocator.CPUs(string(pod.UID), name)
	if own {
		r.CPUQuota, r.CPUPeriod = 0, 0
	}
	r.CPUSetCPUs = set.String()
	var nodes []string
	for _, n := range p.cfg.Allocator.Nodes(string(pod.UID), name) {
		nodes = append(nodes, strconv.Itoa(n))
	}
	r.CPUSetMems = strings.Join(nodes, ",")
}

// OwnsCPUs reports whether a container of the pod has CPUs alone.
func (p *Placement) OwnsCPUs(pod *corev1.Pod) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Allocator.OwnCPUs(string(pod.UID))
}

// Created notes what a container was made to run on.
func (p *Placement) Created(id, cpus string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set[id] = cpus
}

// Started notes that a container runs: the init containers before it have ended, and
// what all run on may have changed since it was made.
func (p *Placement) Started(pod *corev1.Pod, name, id string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unstored = p.cfg.Allocator.Started(pod, name) || p.unstored
	if set, _ := p.cfg.Allocator.CPUs(string(pod.UID), name); p.unstored || p.set[id] != set.String() {
		p.Kick()
	}
}

// Run has running containers follow changes of what they may run on, and has what pods
// have that have ended taken back, until ctx ends; then it returns nil. A second call returns
// lifecycle.ErrStarted.
func (p *Placement) Run(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if err := p.guard.Start(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	failed := false
	for {
		move := failed
		select {
		case <-ctx.Done():
			return nil
		case <-p.dirty:
			move = true
		case <-timer.C:
			timer.Reset(p.cfg.Period)
		}
		p.cfg.Ended()
		p.Store()
		if !move || !p.cfg.PinCPUs {
			continue
		}
		err := p.moveContainers(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			p.cfg.Logger.Warn("cannot move containers to the CPUs that they are to run on; trying until it can be", "err", err)
		}
		failed = err != nil
	}
}

// moveContainers sets in the runtime what each running container may run on, where that
// differs from what was last set.
func (p *Placement) moveContainers(ctx context.Context) error {
	resizer, ok := p.cfg.Runtime.(runtime.Resizer)
	if !ok {
		return nil // the owner refuses such a runtime
	}
	list, err := p.cfg.Runtime.ListContainers(ctx, "")
	if err != nil {
		return err
	}
	known := p.cfg.Pods()
	there := make(map[string]bool, len(list))
	var errs []error
	for _, c := range list {
		there[c.ID] = true
		if c.State != runtime.ContainerRunning || !known[c.PodUID] {
			continue
		}
		p.mu.Lock()
		set, _ := p.cfg.Allocator.CPUs(c.PodUID, c.Name)
		cpus, has := set.String(), p.set[c.ID]
		p.mu.Unlock()
		if cpus == "" || cpus == has {
			continue
		}
		if err := resizer.UpdateContainerResources(ctx, c.ID, runtime.Resources{CPUSetCPUs: cpus}); err != nil {
			errs = append(errs, fmt.Errorf("container %q of pod %s: %w", c.Name, c.PodUID, err))
			continue
		}
		p.Created(c.ID, cpus)
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

// Own is what a container has alone: CPUs, lowest first, and memory.
func (p *Placement) Own(uid, container string) (cpus []int, memory []topology.Block) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if set, own := p.cfg.Allocator.CPUs(uid, container); own {
		cpus = set.List()
	}
	return cpus, p.cfg.Allocator.Memory(uid, container)
}

// Allocatable is what containers can have alone, given or not, as Own has it.
func (p *Placement) Allocatable() (cpus []int, memory []topology.Block) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Allocator.AllocatableCPUs().List(), p.cfg.Allocator.AllocatableMemory()
}
