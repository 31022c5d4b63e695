package devices

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// How long a plugin may take. The last is the kubelet's; it has no other.
const (
	preferTimeout   = 10 * time.Second
	allocateTimeout = 2 * time.Minute
	preStartTimeout = 30 * time.Second
)

// Error says that a pod cannot have its devices: it is to be rejected. Any other error of
// Prepare is one of the store or of the context: Prepare is then to be called again.
type Error struct{ Err error }

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is what the plugin said.
func (e *Error) Unwrap() error { return e.Err }

// Prepare has the plugins allocate what was reserved for a pod, one container after the
// other, and stores it. When it returns nil, that is durable. It is called by one goroutine
// at a time for a pod.
func (m *Manager) Prepare(ctx context.Context, pod *corev1.Pod) error {
	uid := string(pod.UID)
	reusable := make(map[string]map[string]bool)
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		wants := Wants(pod, &c)
		for _, name := range sortedKeys(wants) {
			if err := m.allocate(ctx, uid, c.Name, name, reusable[name]); err != nil {
				return err
			}
		}
		m.mu.Lock()
		reuse(reusable, m.pods[uid], pod, c.Name)
		m.mu.Unlock()
	}
	return m.store(ctx, uid)
}

// allocate has a plugin allocate what was reserved for a container. What was not reserved
// is left out: the pod runs already, without.
func (m *Manager) allocate(ctx context.Context, uid, container, name string, reusable map[string]bool) error {
	m.mu.Lock()
	g := m.pods[uid].find(container, name)
	if g == nil || g.edits != nil {
		m.mu.Unlock()
		return nil
	}
	var e *Endpoint
	if r := m.resources[name]; r != nil {
		e = r.active()
	}
	m.mu.Unlock()
	if e == nil {
		return &Error{fmt.Errorf("the device plugin of %s is gone", name)}
	}
	// A plugin has one call at a time, as from a kubelet.
	select {
	case e.busy <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-e.busy }()
	start := time.Now()
	err := m.prefer(ctx, e, g, reusable)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, allocateTimeout)
	defer cancel()
	edits, err := e.plugin.Allocate(bounded, g.ids())
	m.metrics.allocations.WithLabelValues(name).Observe(time.Since(start).Seconds())
	if err != nil {
		return failed(ctx, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.pods[uid]; p.find(container, name) == g { // else it was released meanwhile
		g.edits, p.unwritten = &edits, true
	}
	return nil
}

// failed is a plugin's error, unless the call was cut.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Error{err}
}

// prefer lets the plugin say which of the devices that are free it would rather give, if
// it wants to. What can be used again is always among them.
func (m *Manager) prefer(ctx context.Context, e *Endpoint, g *grant, reusable map[string]bool) error {
	if !e.options.PreferredAllocation {
		m.choose(g, nil, reusable)
		return nil
	}
	m.mu.Lock()
	r, want := m.resources[g.resource], len(g.devices)
	available := m.availableLocked(g)
	if aligned := r.on(available, g.hint); len(aligned)+len(reusable) > want {
		available = aligned // all of them can be where they should be
	}
	must := sortedKeys(reusable)
	must = must[:min(len(must), want)]
	for _, id := range must {
		if !slices.Contains(available, id) {
			available = append(available, id)
		}
	}
	m.mu.Unlock()
	if len(must) == want {
		m.choose(g, nil, reusable)
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, preferTimeout)
	defer cancel()
	preferred, err := e.plugin.Preferred(bounded, available, must, want)
	if err != nil {
		err = failed(ctx, err)
		if own, ok := errors.AsType[*Error](err); ok {
			own.Err = fmt.Errorf("device plugin GetPreferredAllocation rpc failed with err: %w", own.Err)
		}
		return err
	}
	m.choose(g, preferred, reusable)
	return nil
}

// on are the devices that are on NUMA nodes.
func (r *resourceState) on(ids []string, nodes uint64) []string {
	var out []string
	for _, id := range ids {
		if r.devices[id].Nodes&nodes != 0 {
			out = append(out, id)
		}
	}
	return out
}

// availableLocked are the devices that a grant may have: what it has, and healthy ones
// that nobody has, by ID.
func (m *Manager) availableLocked(g *grant) []string {
	out := g.ids()
	r := m.resources[g.resource]
	used := m.usedLocked(g.resource)
	for id, d := range r.devices {
		if d.Healthy && !used[id] {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// choose chooses the devices of a grant anew: those that can be used again, those that
// are preferred, and what it has.
func (m *Manager) choose(g *grant, preferred []string, reusable map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(preferred) == 0 && len(reusable) == 0 {
		return
	}
	r := m.resources[g.resource]
	available := m.availableLocked(g)
	preferred = slices.DeleteFunc(slices.Clone(preferred), func(id string) bool { return !slices.Contains(available, id) })
	// What it has comes before others that are free.
	g.devices = r.choose(available, reusable, slices.Concat(preferred, g.ids()), g.hint, len(g.devices))
}

// Edits is what a container needs, at a start of it, to use its devices; nil if it has
// none. The error says why the container cannot start now.
func (m *Manager) Edits(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*Edits, error) {
	uid := string(pod.UID)
	wants := Wants(pod, c)
	names := sortedKeys(wants)
	if len(names) == 0 {
		return nil, nil
	}
	if err := m.reserveAgain(pod, c, names, wants); err != nil {
		return nil, err
	}
	out := &Edits{Env: make(map[string]string), Annotations: make(map[string]string)}
	for _, name := range names {
		if err := m.allocate(ctx, uid, c.Name, name, nil); err != nil {
			return nil, err
		}
	}
	if err := m.store(ctx, uid); err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := m.preStart(ctx, uid, c.Name, name); err != nil {
			return nil, err
		}
		m.mu.Lock()
		if g := m.pods[uid].find(c.Name, name); g != nil && g.edits != nil {
			merge(out, g.edits)
		}
		m.mu.Unlock()
	}
	return out, nil
}

// reserveAgain chooses devices for a container that has none, though its pod was admitted:
// what it had was lost. It says why what it has cannot be used now.
func (m *Manager) reserveAgain(pod *corev1.Pod, c *corev1.Container, names []string, wants map[string]int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if err := m.reserveLocked(pod, c.Name, name, wants[name], 0); err != nil {
			return err
		}
		g := m.pods[string(pod.UID)].find(c.Name, name)
		if g.confirmed {
			continue
		}
		r := m.resources[name]
		if r == nil || !r.listed {
			return fmt.Errorf("cannot allocate unregistered device %s: its device plugin has not registered since the agent started", name)
		}
		for _, d := range g.devices {
			if !r.devices[d.ID].Healthy || !r.stopped.IsZero() {
				return fmt.Errorf("previously allocated devices are no longer healthy; cannot allocate unhealthy devices %s: %s", name, d.ID)
			}
		}
		g.confirmed = true
	}
	return nil
}

// preStart tells the plugin that a container starts, if it wants to know. Without a plugin
// that wants to know a container does not start, as in a kubelet.
func (m *Manager) preStart(ctx context.Context, uid, container, name string) error {
	m.mu.Lock()
	g := m.pods[uid].find(container, name)
	var e *Endpoint
	required := false
	if r := m.resources[name]; r != nil {
		e, required = r.active(), r.preStarts
	}
	m.mu.Unlock()
	switch {
	case e == nil && required:
		return fmt.Errorf("device plugin PreStartContainer rpc failed with err: the device plugin of %s is gone", name)
	case g == nil:
		return fmt.Errorf("no devices found allocated in local cache for pod %s, container %s, resource %s", uid, container, name)
	case e == nil || !e.options.PreStartRequired:
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, preStartTimeout)
	defer cancel()
	if err := e.plugin.PreStart(bounded, g.ids()); err != nil {
		return fmt.Errorf("device plugin PreStartContainer rpc failed with err: %w", err)
	}
	return nil
}

// merge adds what one plugin answered. What another has set stays.
func merge(out, in *Edits) {
	missing(out.Env, in.Env)
	missing(out.Annotations, in.Annotations)
	paths := make(map[string]bool)
	for _, m := range out.Mounts {
		paths["mount "+m.ContainerPath] = true
	}
	for _, d := range out.Devices {
		paths["device "+d.ContainerPath] = true
	}
	for _, m := range in.Mounts {
		if !paths["mount "+m.ContainerPath] {
			out.Mounts = append(out.Mounts, m)
		}
	}
	for _, d := range in.Devices {
		if !paths["device "+d.ContainerPath] {
			out.Devices = append(out.Devices, d)
		}
	}
	for _, name := range in.CDIDevices {
		if !slices.Contains(out.CDIDevices, name) {
			out.CDIDevices = append(out.CDIDevices, name)
		}
	}
}

// missing copies what the other map does not have.
func missing(to, from map[string]string) {
	for k, v := range from {
		if _, ok := to[k]; !ok {
			to[k] = v
		}
	}
}
