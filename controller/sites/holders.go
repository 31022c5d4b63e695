package sites

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
)

// setNodeLocked sets what a node holds.
func (c *Controller) setNodeLocked(name string, held, full []*plan) {
	for _, p := range c.nodes[name] {
		uid := p.sync.UID
		if delete(c.holders[uid], name); len(c.holders[uid]) == 0 {
			delete(c.holders, uid)
		}
	}
	for uid, nodes := range c.full {
		if delete(nodes, name); len(nodes) == 0 {
			delete(c.full, uid)
		}
	}
	add := func(to map[types.UID]nodeSet, plans []*plan) {
		for _, p := range plans {
			if to[p.sync.UID] == nil {
				to[p.sync.UID] = make(nodeSet)
			}
			to[p.sync.UID][name] = struct{}{}
		}
	}
	add(c.holders, held)
	add(c.full, full)
	if c.nodes[name] = held; len(held) == 0 {
		delete(c.nodes, name)
	}
}

// changedKeys returns the keys about which a node must be notified when it holds other plans than
// before, with the mirrors of both times.
func changedKeys(before, after []*plan, was, is map[types.UID]*mirror) []hub.Key {
	var keys []hub.Key
	add := func(p *plan, m *mirror, removed bool) {
		read := m != nil && m.current().synced
		if read || removed { // otherwise the node is notified when the objects were read
			keys = append(keys, p.syncKey())
		}
		if !read {
			return
		}
		for _, name := range m.names() {
			keys = append(keys, p.key(name))
		}
	}
	for _, p := range after {
		if !slices.Contains(before, p) {
			add(p, is[p.sync.UID], false)
		}
	}
	for _, p := range before {
		if !slices.Contains(after, p) {
			add(p, was[p.sync.UID], true)
		}
	}
	return keys
}

// objectsChanged notifies the nodes that hold the objects of an EdgeSync.
func (c *Controller) objectsChanged(p *plan, names []cache.Name) {
	keys := make([]hub.Key, 0, len(names))
	for _, name := range names {
		keys = append(keys, p.key(name))
	}
	c.notifyHolders(p.sync.UID, keys...)
}

// notifyHolders notifies the nodes that hold the objects of an EdgeSync, and are connected here.
func (c *Controller) notifyHolders(uid types.UID, keys ...hub.Key) {
	if len(keys) == 0 {
		return
	}
	c.mu.RLock()
	var nodes []string
	for name := range c.holders[uid] {
		if c.notifier.Subscribed(name) {
			nodes = append(nodes, name)
		}
	}
	c.mu.RUnlock()
	for _, name := range nodes {
		c.notifier.Notify(name, keys...)
	}
}
