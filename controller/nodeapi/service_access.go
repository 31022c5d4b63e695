package nodeapi

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// ServicesLabel on a Node lets the node have all Namespaces, Services and
// EndpointSlices, if it asks for them (edgecore --local-api-services). The node
// authorizer would let no node read them all, so an operator says which may;
// NodeRestriction keeps nodes from the label:
//
//	kubectl label node edge-7 edgekit.node-restriction.kubernetes.io/services=all
const ServicesLabel = "edgekit.node-restriction.kubernetes.io/services"

// ServicesAll is the value of ServicesLabel that allows it.
const ServicesAll = "all"

// Services says which nodes may have all Services.
type Services string

const (
	// ServicesMarked are the nodes with ServicesLabel.
	ServicesMarked Services = "marked"
	// ServicesEvery is every node that asks.
	ServicesEvery Services = "all"
)

// mayHaveServices reports whether an operator allows the node to have all Services.
func (c *Controller) mayHaveServices(node string) bool {
	if c.cfg.Services == ServicesEvery {
		return true
	}
	if c.cfg.Nodes == nil {
		return false
	}
	item, ok := c.cfg.Nodes.Load(cache.Name{Name: node})
	return ok && marked(item.Object)
}

func marked(node *corev1.Node) bool { return node != nil && node.Labels[ServicesLabel] == ServicesAll }

// nodeChanged returns a connected node all Services, or removes them from it, when
// its label is set or removed.
func (c *Controller) nodeChanged(change cache.Change[*corev1.Node]) {
	if c.cfg.Services == ServicesEvery || marked(change.Old) == marked(change.New) {
		return
	}
	name := change.Name.Name
	c.mu.Lock()
	asks := c.services[name] > 0
	if asks && marked(change.New) {
		c.watchLocked(namespaces)
		c.watchLocked(wire.Services)
	}
	c.mu.Unlock()
	if !asks {
		return
	}
	var keys []hub.Key
	for _, k := range c.kinds {
		if k.capability != wire.Services && k.capability != wire.Groups && k.capability != namespaces {
			continue
		}
		for _, object := range k.store.Names() {
			keys = append(keys, hub.Key{Resource: k.resource, Namespace: object.Namespace, Name: object.Name})
		}
	}
	c.notifier.Notify(name, keys...)
}
