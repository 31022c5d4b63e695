package runtimetest

import (
	"context"
	"maps"

	"github.com/edgekit/edgekit/edged/runtime"
)

var (
	_ runtime.Resizer = (*Runtime)(nil)
	_ runtime.Meter   = (*Runtime)(nil)
)

// UpdateContainerResources sets the resources of a container, as ContainerStatus and
// Configs show them.
func (r *Runtime) UpdateContainerResources(ctx context.Context, id string, to runtime.Resources) error {
	if err := r.begin(ctx, "UpdateContainerResources", r.containerName(id)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return gone(id)
	}
	set := c.cfg.Resources
	for _, f := range []struct{ have, want *int64 }{
		{&set.CPUShares, &to.CPUShares}, {&set.CPUQuota, &to.CPUQuota}, {&set.CPUPeriod, &to.CPUPeriod},
		{&set.Memory, &to.Memory}, {&set.MemorySwap, &to.MemorySwap}, {&set.OOMScoreAdj, &to.OOMScoreAdj},
	} {
		if *f.want != 0 {
			*f.have = *f.want
		}
	}
	for _, f := range []struct{ have, want *string }{{&set.CPUSetCPUs, &to.CPUSetCPUs}, {&set.CPUSetMems, &to.CPUSetMems}} {
		if *f.want != "" {
			*f.have = *f.want
		}
	}
	set.Unified = maps.Clone(set.Unified)
	for file, text := range to.Unified {
		if set.Unified == nil {
			set.Unified = make(map[string]string)
		}
		set.Unified[file] = text
	}
	c.cfg.Resources = set
	shown := set
	c.Resources = &shown
	r.sendEventLocked(c.PodUID)
	return nil
}

// UpdateSandboxResources notes the call.
func (r *Runtime) UpdateSandboxResources(ctx context.Context, id string, _, _ runtime.Resources) error {
	r.mu.Lock()
	name := "?"
	if s := r.sandboxes[id]; s != nil {
		name = s.Name
	}
	r.mu.Unlock()
	return r.begin(ctx, "UpdateSandboxResources", name)
}

// SetMemoryUsage sets what PodUsage says that the containers of a name use, in bytes.
func (r *Runtime) SetMemoryUsage(name string, bytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.usage == nil {
		r.usage = make(map[string]uint64)
	}
	r.usage[name] = bytes
}

// PodUsage is the memory that the running containers of each pod use, as
// SetMemoryUsage said.
func (r *Runtime) PodUsage(context.Context) ([]runtime.PodUsage, error) {
	if err := r.look("PodUsage"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pods := make(map[string]*runtime.PodUsage)
	var order []string
	for _, c := range r.containers {
		if c.State != runtime.ContainerRunning {
			continue
		}
		p := pods[c.PodUID]
		if p == nil {
			p = &runtime.PodUsage{UID: c.PodUID}
			p.Memory = new(uint64)
			pods[c.PodUID] = p
			order = append(order, c.PodUID)
		}
		used := r.usage[c.Name]
		*p.Memory += used
		p.Containers = append(p.Containers, runtime.ContainerUsage{ID: c.ID, Name: c.Name, Usage: runtime.Usage{Memory: &used}})
	}
	var out []runtime.PodUsage
	for _, uid := range order {
		out = append(out, *pods[uid])
	}
	return out, nil
}
