package edge

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

// PodCount returns how many pods are bound to a node.
func (c *Controller) PodCount(node string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byNode[node])
}

// PodsOf returns the pods that are bound to a node, by namespace and name. They are shared and
// must not be written to.
func (c *Controller) PodsOf(node string) []*corev1.Pod {
	c.mu.Lock()
	names := make([]cache.Name, 0, len(c.byNode[node]))
	for name := range c.byNode[node] {
		names = append(names, name)
	}
	c.mu.Unlock()
	pods := make([]*corev1.Pod, 0, len(names))
	for _, name := range names {
		if item, ok := c.pods.Load(name); ok && item.Object.Spec.NodeName == node {
			pods = append(pods, item.Object)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods
}
