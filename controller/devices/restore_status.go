package devices

import (
	"context"
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// A node reports a device only when something changes. So when somebody deletes a
// DeviceStatus, the cloudcore that has the node's session creates it again from the
// node's last report. A cloudcore that started after that report does not have it:
// then each property returns with its next change.

// lastReport is the last report of the device, if its node has a session here, else
// nil.
func (c *Controller) lastReport(device *v1beta1.Device) *report {
	if !c.notifier.Subscribed(device.Spec.NodeName) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reports[cache.Name{Namespace: device.Namespace, Name: device.Name}]
}

// makeStatus makes the DeviceStatus of a device that has none.
func (c *Controller) makeStatus(ctx context.Context, device *v1beta1.Device, found metav1.Condition) error {
	fresh := newStatus(device)
	r := c.lastReport(device)
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.last != nil {
			fresh.Status = r.last.DeepCopy().Status
		}
	}
	apimeta.SetStatusCondition(&fresh.Status.Conditions, found)
	made, err := createStatus(ctx, c.statusClient(device.Namespace), fresh)
	if err == nil && r != nil {
		r.last = made
	}
	return err
}

// restoreStatus brings the last report into a DeviceStatus that another
// cloudcore, which does not know it, has made again.
func (c *Controller) restoreStatus(ctx context.Context, device *v1beta1.Device, have *v1beta1.DeviceStatus) error {
	r := c.lastReport(device)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil || r.last.UID == have.UID {
		return nil
	}
	status := r.last.DeepCopy().Status
	status.Conditions = slices.DeleteFunc(status.Conditions, func(cond metav1.Condition) bool { return !nodeOwns(cond.Type) })
	before := r.last
	r.last = nil // to be read
	err := c.patchStatus(ctx, r, device, status)
	if err != nil {
		r.last = before
	}
	return err
}

// nodeOwns reports whether only the node sets this condition of a DeviceStatus. It
// sets one, in twin/devicesync.
func nodeOwns(conditionType string) bool { return conditionType == "DesiredValid" }
