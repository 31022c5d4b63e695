package devices

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/edgekit/edgekit/edged/internal/topology"
)

// Hints implements topology.Provider.
func (p provider) Hints(pod *corev1.Pod, c *corev1.Container) map[string][]topology.Hint {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string][]topology.Hint)
	for name, want := range Wants(pod, c) {
		var has []Device
		if g := m.pods[string(pod.UID)].find(c.Name, name); g != nil {
			has = g.devices
		}
		out[name] = m.hintsLocked(name, want, has, m.reusableLocked(string(pod.UID))[name])
	}
	return out
}

// PodHints implements topology.Provider.
func (p provider) PodHints(pod *corev1.Pod) map[string][]topology.Hint {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string][]topology.Hint)
	for name, q := range resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{ExcludeOverhead: true}) {
		if !IsExtended(string(name)) || m.resources[string(name)] == nil || q.Sign() <= 0 {
			continue
		}
		var has []Device
		seen := make(map[string]bool)
		if state := m.pods[string(pod.UID)]; state != nil {
			for _, g := range state.grants {
				for _, d := range g.devices {
					if g.resource == string(name) && !seen[d.ID] {
						seen[d.ID], has = true, append(has, d)
					}
				}
			}
		}
		out[string(name)] = m.hintsLocked(string(name), int(q.Value()), has, nil)
	}
	return out
}

// hintsLocked lists the sets of NUMA nodes that can give so many devices of a resource. A
// resource whose plugin names no node does not matter.
func (m *Manager) hintsLocked(name string, want int, has []Device, reusable map[string]bool) []topology.Hint {
	r := m.resources[name]
	if r == nil {
		return []topology.Hint{}
	}
	places := uint64(0)
	all := make(map[uint64]int) // how many devices there are, by their nodes
	for _, d := range r.devices {
		places |= d.Nodes
		all[d.Nodes]++
	}
	if places == 0 {
		return nil
	}
	if m.nodes != 0 {
		places &= m.nodes // a plugin may name nodes that the machine does not have
	}
	able, again := make(map[uint64]int), make(map[uint64]int)
	switch {
	case len(has) > 0 && len(has) != want:
		return []topology.Hint{}
	case len(has) > 0:
		for _, d := range has {
			able[d.Nodes]++
		}
	default:
		free, err := m.freeLocked(name, want, reusable)
		if err != nil {
			return []topology.Hint{}
		}
		for _, id := range free {
			able[r.devices[id].Nodes]++
		}
		for id := range reusable {
			again[r.devices[id].Nodes]++
		}
	}
	return hints(places, want, all, able, again)
}

// hints lists the subsets of places with enough devices. Those with as few nodes as would
// do if all devices were free are preferred. What can be used again must be in the set.
func hints(places uint64, want int, all, able, again map[uint64]int) []topology.Hint {
	out := []topology.Hint{}
	least := topology.Mask(places).Count()
	sum := func(of map[uint64]int, set uint64) (n int) {
		for nodes, count := range of {
			if nodes&set != 0 {
				n += count
			}
		}
		return n
	}
	for set := places; set != 0; set = (set - 1) & places {
		if sum(all, set) >= want {
			least = min(least, topology.Mask(set).Count())
		}
		outside := false
		for nodes := range again {
			outside = outside || nodes != 0 && nodes&set == 0
		}
		if !outside && sum(able, set)+sum(again, set) >= want {
			out = append(out, topology.Hint{Nodes: topology.Mask(set)})
		}
	}
	for i := range out {
		out[i].Preferred = out[i].Nodes.Count() == least
	}
	return out
}
