package nodeapi

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// members are the edge nodes that are in a group, of the store of all edge nodes. A node that holds
// all Services gets their names and groups, so that it can keep traffic within its own.
type members struct {
	nodes *cache.Store[*corev1.Node]
	get   func(ctx context.Context, name string) (*corev1.Node, error)
}

// Run waits for the end: the store of nodes runs elsewhere.
func (m members) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (m members) Synced() <-chan struct{} { return m.nodes.Synced() }

func (m members) Names() []cache.Name {
	var names []cache.Name
	for _, name := range m.nodes.Names() {
		if item, ok := m.nodes.Load(name); ok && item.Object.Labels[wire.GroupLabel] != "" {
			names = append(names, name)
		}
	}
	return names
}

// member is what others get of a node; nil if it is in no group.
func member(n *corev1.Node) *corev1.Node {
	group := n.Labels[wire.GroupLabel]
	if group == "" {
		return nil
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, Labels: map[string]string{wire.GroupLabel: group},
	}}
}

func (m members) load(name cache.Name, held string) (metav1.Object, string, bool) {
	item, ok := m.nodes.LoadFor(name, held)
	if !ok {
		return nil, "", false
	}
	if n := member(item.Object); n != nil {
		return n, item.Version, true
	}
	return nil, "", false
}

func (m members) version(name cache.Name) (string, bool) {
	item, ok := m.nodes.Load(name)
	return item.Version, ok && member(item.Object) != nil
}

func (m members) read(ctx context.Context, name cache.Name) (metav1.Object, error) {
	n, err := m.get(ctx, name.Name)
	if err != nil {
		return nil, err
	}
	if in := member(n); in != nil {
		return in, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource(wire.MembersResource), name.Name)
}

// memberChanged notifies the nodes that hold all Services when a node comes into a group or leaves.
func (c *Controller) memberChanged(change cache.Change[*corev1.Node]) {
	group := func(n *corev1.Node) string {
		if n == nil {
			return ""
		}
		return n.Labels[wire.GroupLabel]
	}
	if group(change.Old) != group(change.New) {
		c.serviceChanged(hub.Key{Resource: wire.MembersResource, Name: change.Name.Name})
	}
}
