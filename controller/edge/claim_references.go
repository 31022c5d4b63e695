package edge

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub"
	metareferences "github.com/edgekit/edgekit/meta/references"
	"github.com/edgekit/edgekit/meta/resources"
)

// followLocked gives the keys and those that their objects lead to, as far as the
// watches have seen them: from a bound claim to its volume, and from that to its
// secrets, its driver and its attachment to the node; from a selection to its trust bundles. What comes later is added by
// referenceChanged.
func (c *Controller) followLocked(node string, keys map[hub.Key]struct{}) map[hub.Key]struct{} {
	keys = c.selectedLocked(keys)
	return follow(node, keys, func(key hub.Key) (metav1.Object, error) {
		if r := c.refs[key]; r != nil {
			obj, _, _ := r.store.load("")
			return obj, nil
		}
		return nil, nil
	})
}

// follow gives the keys and those that their objects lead to. load reads one; an
// error leaves out what the object leads to.
func follow(node string, keys map[hub.Key]struct{}, load func(hub.Key) (metav1.Object, error)) map[hub.Key]struct{} {
	all := keys
	for key := range keys {
		if key.Resource != resources.PersistentVolumeClaims {
			continue
		}
		obj, err := load(key)
		claim, ok := obj.(*corev1.PersistentVolumeClaim)
		if err != nil || !ok || claim == nil {
			continue
		}
		volume, bound := metareferences.OfClaim(claim)
		if !bound {
			continue
		}
		if len(all) == len(keys) {
			all = maps.Clone(keys)
		}
		all[hub.Key(volume)] = struct{}{}
		obj, err = load(hub.Key(volume))
		pv, ok := obj.(*corev1.PersistentVolume)
		if err != nil || !ok || pv == nil || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID {
			continue
		}
		for secret := range metareferences.OfVolume(pv) {
			all[hub.Key(secret)] = struct{}{}
		}
		if attachment, ok := metareferences.AttachmentOf(pv, node); ok && mayAttach(pv.Spec.CSI.Driver, load) {
			all[hub.Key(attachment)] = struct{}{}
		}
	}
	return all
}

// mayAttach reports whether a driver may want its volumes attached: all do, except
// those whose CSIDriver says that they do not.
func mayAttach(driver string, load func(hub.Key) (metav1.Object, error)) bool {
	obj, err := load(hub.Key{Resource: resources.CSIDrivers, Name: driver})
	d, ok := obj.(*storagev1.CSIDriver)
	return err != nil || !ok || d == nil || d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
}

// referenceChanged notifies the nodes whose pods refer to an object that it changed.
// A claim, a volume or a driver may lead to other objects than before: what it leads to is
// then watched for those nodes, and they are notified of that too.
func (c *Controller) referenceChanged(r *reference) {
	changed := make(map[string][]hub.Key)
	c.mu.Lock()
	for node := range r.users {
		changed[node] = nil
		if r.key.Resource != bundleSelections {
			changed[node] = []hub.Key{r.key}
		}
	}
	switch r.key.Resource {
	case resources.PersistentVolumeClaims, resources.PersistentVolumes, resources.CSIDrivers, bundleSelections:
		for node := range changed {
			changed[node] = append(changed[node], c.followAgainLocked(node, r.key)...)
		}
	}
	c.mu.Unlock()
	for node, keys := range changed {
		c.notifier.Notify(node, keys...)
	}
}

// followAgainLocked notes what the pods of a node that refer to the key refer to now.
func (c *Controller) followAgainLocked(node string, key hub.Key) (changed []hub.Key) {
	w := c.nodes[node]
	if w == nil {
		return nil
	}
	for name, refs := range maps.Clone(w.refs) {
		if _, refers := refs[key]; !refers {
			continue
		}
		if item, ok := c.pods.Load(name); ok && item.Object.Spec.NodeName == node {
			changed = append(changed, c.setReferencesLocked(node, name, references(item.Object))...)
		}
	}
	return changed
}

// followLive is follow with what the API server has now. Its error is one that leaves
// unknown what an object leads to.
func (c *Controller) followLive(ctx context.Context, node string, keys map[hub.Key]struct{}) (map[hub.Key]struct{}, error) {
	keys, failed := c.selectedLive(ctx, node, keys)
	all := follow(node, keys, func(key hub.Key) (metav1.Object, error) {
		var obj metav1.Object
		var err error
		switch key.Resource {
		case resources.CSIDrivers:
			return nil, nil // it only says what is not needed
		case resources.PersistentVolumes:
			obj, err = c.cfg.Cloud.CoreV1().PersistentVolumes().Get(ctx, key.Name, metav1.GetOptions{})
		default:
			obj, err = c.cfg.Cloud.CoreV1().PersistentVolumeClaims(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			failed = err
		}
		return obj, err
	})
	return all, failed
}
