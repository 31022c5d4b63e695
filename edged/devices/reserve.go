package devices

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/topology"
)

// podState is what the containers of a pod have.
type podState struct {
	grants    []*grant
	stored    bool // the store has a record of the pod
	unwritten bool // the record differs
}

// grant is the devices of one resource that a container has.
type grant struct {
	container, resource string
	devices             []Device
	hint                uint64 // NUMA nodes that they should be on; 0 means any
	edits               *Edits // nil until the plugin has allocated the devices
	confirmed           bool   // the plugin of this run has said that the devices are healthy
}

func (g *grant) ids() []string {
	out := make([]string, 0, len(g.devices))
	for _, d := range g.devices {
		out = append(out, d.ID)
	}
	return out
}

// find is what a container has of a resource; nil if it has nothing.
func (p *podState) find(container, resource string) *grant {
	if p == nil {
		return nil
	}
	for _, g := range p.grants {
		if g.container == container && g.resource == resource {
			return g
		}
	}
	return nil
}

// Wants lists how many devices a container is to have, by resource. Resources that come
// from a resource claim (KEP-5004) are not among them.
func Wants(pod *corev1.Pod, c *corev1.Container) map[string]int {
	var out map[string]int
	for name, q := range c.Resources.Limits {
		// Requests of extended resources are the limits, by the API.
		if n := q.Value(); n > 0 && IsExtended(string(name)) && !claimed(pod, c.Name, string(name)) {
			if out == nil {
				out = make(map[string]int)
			}
			out[string(name)] = int(min(n, maxInAll+1))
		}
	}
	return out
}

// claimed reports whether a resource of a container comes from a resource claim.
func claimed(pod *corev1.Pod, container, resource string) bool {
	status := pod.Status.ExtendedResourceClaimStatus
	return status != nil && slices.ContainsFunc(status.RequestMappings, func(r corev1.ContainerExtendedResourceRequest) bool {
		return r.ContainerName == container && r.ResourceName == resource
	})
}

// WantsAny reports whether a container of the pod is to have devices.
func WantsAny(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool { return len(Wants(pod, &c)) > 0 })
}

// Awaits reports whether the pod wants devices of a plugin that a former agent had, and that
// has not registered with this one yet. Reserve would refuse it. It is false five minutes
// after Load, and for a pod that has its devices already.
func (m *Manager) Awaits(pod *corev1.Pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool {
		for name := range Wants(pod, &c) {
			r := m.resources[name]
			if r != nil && !r.listed && r.restored() && time.Since(r.stopped) <= stopGrace && m.pods[string(pod.UID)].find(c.Name, name) == nil {
				return true
			}
		}
		return false
	})
}

// Reserve chooses devices for all containers of a pod, without regard to NUMA nodes, or
// says why there are none: nothing is chosen then. What containers have already stays
// theirs. The message is the kubelet's.
func (m *Manager) Reserve(pod *corev1.Pod) error {
	p := m.Provider()
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if err := p.Allocate(pod, &c, topology.Hint{}); err != nil {
			p.Release(pod)
			return err
		}
	}
	return nil
}

// Provider is the Manager as a provider of hints to the topology manager.
func (m *Manager) Provider() topology.Provider { return provider{m} }

type provider struct{ m *Manager }

// Allocate implements topology.Provider.
func (p provider) Allocate(pod *corev1.Pod, c *corev1.Container, on topology.Hint) error {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	uid := string(pod.UID)
	wants := Wants(pod, c)
	for _, name := range sortedKeys(wants) {
		if err := m.reserveLocked(pod, c.Name, name, wants[name], uint64(on.Nodes)); err != nil {
			return err
		}
	}
	m.noteReusableLocked(uid, pod, c.Name)
	return nil
}

// Release implements topology.Provider: it takes back what is only reserved.
func (p provider) Release(pod *corev1.Pod) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.unreserveLocked(string(pod.UID))
}

// unreserveLocked takes back what is not allocated of a pod.
func (m *Manager) unreserveLocked(uid string) {
	has := m.pods[uid]
	if has == nil {
		return
	}
	has.grants = slices.DeleteFunc(has.grants, func(g *grant) bool { return g.edits == nil })
	if len(has.grants) == 0 {
		m.dropLocked(uid)
	}
}

// reserveLocked chooses devices of a resource for a container.
func (m *Manager) reserveLocked(pod *corev1.Pod, container, name string, want int, nodes uint64) error {
	uid := string(pod.UID)
	has := m.pods[uid]
	if g := has.find(container, name); g != nil {
		if len(g.devices) != want {
			return fmt.Errorf("pod %q container %q changed request for resource %q from %d to %d", uid, container, name, len(g.devices), want)
		}
		return nil
	}
	reusable := m.reusableLocked(uid)[name]
	free, err := m.freeLocked(name, want, reusable)
	if err != nil {
		return err
	}
	if has == nil {
		has = &podState{}
		m.pods[uid] = has
	}
	g := &grant{container: container, resource: name, hint: nodes}
	g.devices = m.resources[name].choose(free, reusable, nil, nodes, want)
	g.confirmed = true // only healthy ones are chosen
	has.grants = append(has.grants, g)
	return nil
}

// freeLocked lists the healthy devices of a resource that nobody has, by ID. With what the
// pod can use again there are as many as it wants.
func (m *Manager) freeLocked(name string, want int, reusable map[string]bool) ([]string, error) {
	r := m.resources[name]
	if r == nil || !r.listed {
		return nil, fmt.Errorf("cannot allocate unregistered device %s", name)
	}
	used := m.usedLocked(name)
	healthy, free := 0, []string{}
	if r.stopped.IsZero() {
		for id, d := range r.devices {
			if !d.Healthy {
				continue
			}
			healthy++
			if !used[id] {
				free = append(free, id)
			}
		}
	}
	if healthy == 0 {
		return nil, fmt.Errorf("no healthy devices present; cannot allocate unhealthy devices %s", name)
	}
	if missing := want - len(reusable); missing > len(free) {
		return nil, fmt.Errorf("requested number of devices unavailable for %s. Requested: %d, Available: %d", name, missing, len(free))
	}
	slices.Sort(free)
	return free, nil
}

// choose picks so many devices: first those that can be used again, then preferred ones
// and others, those on the NUMA nodes before the rest, and, as in a kubelet, those of other
// nodes before those whose node is not known.
func (r *resourceState) choose(free []string, reusable map[string]bool, preferred []string, nodes uint64, want int) []Device {
	is := make(map[string]bool, len(free))
	for _, id := range free {
		is[id] = true
	}
	taken := make(map[string]bool, want)
	for _, pass := range []struct {
		ids   []string
		again bool   // they are the pod's already
		nodes uint64 // 0 means any
	}{
		{ids: sortedKeys(reusable), again: true},
		{ids: preferred, nodes: nodes}, {ids: free, nodes: nodes},
		{ids: preferred}, {ids: free, nodes: 1<<64 - 1}, {ids: free},
	} {
		for _, id := range pass.ids {
			if len(taken) < want && (pass.again || is[id] && (pass.nodes == 0 || r.devices[id].Nodes&pass.nodes != 0)) {
				taken[id] = true
			}
		}
	}
	out := make([]Device, 0, want)
	for _, id := range sortedKeys(taken) {
		d := r.devices[id]
		d.ID = id // one that the plugin does not list any more stays itself
		out = append(out, d)
	}
	return out
}

// sortedKeys are the keys of a map, in order.
func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// reusableLocked is what init containers of the pod that is being admitted have, and
// later ones can use again, by resource.
func (m *Manager) reusableLocked(uid string) map[string]map[string]bool {
	if m.admitting != uid {
		m.admitting, m.reusable = uid, make(map[string]map[string]bool)
	}
	return m.reusable
}

// noteReusableLocked notes that what an init container has can be used by later ones, and
// what a sidecar or a container has cannot.
func (m *Manager) noteReusableLocked(uid string, pod *corev1.Pod, container string) {
	reuse(m.reusableLocked(uid), m.pods[uid], pod, container)
}

// reuse adds what an init container has to what later ones can use again, and takes away
// what others have.
func reuse(reusable map[string]map[string]bool, has *podState, pod *corev1.Pod, container string) {
	if has == nil {
		return
	}
	passes := slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == container && !podspec.IsSidecar(&c) })
	for _, g := range has.grants {
		if g.container != container {
			continue
		}
		set := reusable[g.resource]
		if set == nil {
			set = make(map[string]bool)
			reusable[g.resource] = set
		}
		for _, d := range g.devices {
			if passes {
				set[d.ID] = true
			} else {
				delete(set, d.ID)
			}
		}
	}
}
