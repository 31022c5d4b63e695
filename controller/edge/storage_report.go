package edge

import (
	"context"
	"encoding/json"
	"errors"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/impersonate"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
)

// writeCSINode writes which CSI drivers a node has, as the node. The object is owned by
// the Node, as a kubelet's is: it goes with it.
func (c *Controller) writeCSINode(ctx context.Context, name string, obj hub.Object) error {
	var report storagev1.CSINode
	if obj.Key.Name != name || obj.Key.Namespace != "" {
		return nodesync.Forbidden(obj.Key, "a node may only report itself")
	}
	if err := decode(obj, &report); err != nil {
		return err
	}
	ctx = impersonate.With(ctx, name)
	node, err := c.node(ctx, name)
	if apierrors.IsNotFound(err) {
		return hub.ErrLagging // it registers at the same time
	}
	if err != nil {
		return nodesync.FromAPI(err)
	}
	return nodesync.FromAPI(c.putCSINode(ctx, node, report.Spec.Drivers))
}

func (c *Controller) putCSINode(ctx context.Context, node *corev1.Node, drivers []storagev1.CSINodeDriver) error {
	if drivers == nil {
		drivers = []storagev1.CSINodeDriver{} // the field is required
	}
	client := c.cfg.NodeClient.StorageV1().CSINodes()
	have, err := client.Get(ctx, node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if len(drivers) == 0 {
			return nil
		}
		_, err = client.Create(ctx, &storagev1.CSINode{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}},
			Spec:       storagev1.CSINodeSpec{Drivers: drivers},
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil || equality.Semantic.DeepEqual(have.Spec.Drivers, drivers) {
		return err
	}
	have.Spec.Drivers = drivers
	_, err = client.Update(ctx, have, metav1.UpdateOptions{})
	if !apierrors.IsInvalid(err) {
		return err
	}
	// What is said of one driver does not change: it goes, and comes anew.
	have.Spec.Drivers = []storagev1.CSINodeDriver{}
	if have, err = client.Update(ctx, have, metav1.UpdateOptions{}); err != nil {
		return err
	}
	have.Spec.Drivers = drivers
	_, err = client.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

// writeClaimStatus writes the size to which a node has grown a claim's volume, as the
// node, and ends the conditions of the resize.
func (c *Controller) writeClaimStatus(ctx context.Context, node string, obj hub.Object) error {
	var report corev1.PersistentVolumeClaim
	if err := decode(obj, &report); err != nil {
		return err
	}
	size, ok := report.Status.Capacity[corev1.ResourceStorage]
	if report.UID == "" || !ok || size.Sign() <= 0 {
		return nodesync.Invalid(obj.Key, errors.New("metadata.uid and status.capacity.storage must be set"))
	}
	ctx = impersonate.With(ctx, node)
	claims := c.cfg.NodeClient.CoreV1().PersistentVolumeClaims(report.Namespace)
	have, err := claims.Get(ctx, report.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && have.UID != report.UID {
		return nil // the claim that it is about is gone
	}
	if err != nil {
		return nodesync.FromAPI(err)
	}
	if have.Status.Capacity.Storage().Cmp(size) >= 0 {
		return nil
	}
	patch, err := claimPatch(have, size)
	if err != nil {
		return nodesync.Invalid(obj.Key, err)
	}
	_, err = claims.Patch(ctx, report.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return nodesync.FromAPI(err)
}

// claimPatch is a merge patch for a claim that has its new size. The resource version
// in it has the API server refuse it when somebody else changed the conditions.
func claimPatch(have *corev1.PersistentVolumeClaim, size resource.Quantity) ([]byte, error) {
	conditions := []corev1.PersistentVolumeClaimCondition{}
	for _, cond := range have.Status.Conditions {
		switch cond.Type {
		case corev1.PersistentVolumeClaimResizing, corev1.PersistentVolumeClaimFileSystemResizePending,
			corev1.PersistentVolumeClaimNodeResizeError, corev1.PersistentVolumeClaimControllerResizeError:
		default:
			conditions = append(conditions, cond)
		}
	}
	status := map[string]any{"capacity": map[string]string{"storage": size.String()}, "conditions": conditions}
	if _, ok := have.Status.AllocatedResourceStatuses[corev1.ResourceStorage]; ok {
		status["allocatedResourceStatuses"] = map[string]any{"storage": nil}
	}
	return json.Marshal(map[string]any{"metadata": map[string]string{"resourceVersion": have.ResourceVersion}, "status": status})
}
