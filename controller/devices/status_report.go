package devices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// burst is how many writes of one DeviceStatus may follow each other at once.
const burst = 2

// Writers returns the writer of a node's reports about devices.
func (c *Controller) Writers() map[string]nodesync.Writer {
	return map[string]nodesync.Writer{resources.DeviceStatuses: c.writeReport}
}

// writeReport writes a node's report about one of its devices.
func (c *Controller) writeReport(ctx context.Context, node string, obj hub.Object) error {
	if obj.Deleted {
		return nil // the API server deletes a DeviceStatus with its Device
	}
	var status v1beta1.DeviceStatusStatus
	if err := jsonlimit.Unmarshal(obj.Body, &status); err != nil {
		return nodesync.Invalid(obj.Key, fmt.Errorf("body is not the JSON of a device's status: %w", err))
	}
	status.Conditions = slices.DeleteFunc(status.Conditions, func(cond metav1.Condition) bool { return !nodeOwns(cond.Type) })
	name := cache.Name{Namespace: obj.Key.Namespace, Name: obj.Key.Name}
	device, err := c.device(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return nodesync.FromAPI(err)
	case device.Spec.NodeName != node:
		return nodesync.Forbidden(obj.Key, notAtNode)
	}
	r := c.reportOf(name)
	if err := r.limit.Wait(ctx); err != nil {
		return fmt.Errorf("devices: wait for the device's turn: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 3 { // after a lost race, try again with what the winner wrote
		if err = c.patchStatus(ctx, r, device, status); errors.Is(err, errNotAtNode) {
			return nodesync.Forbidden(obj.Key, notAtNode)
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			break
		}
		r.last = nil
	}
	e := nodesync.FromAPI(err)
	if errors.Is(e, &hub.Error{Code: hub.CodeForbidden}) {
		return err // cloudcore's own lack of permission: not the node's fault, and not final
	}
	return e
}

// notAtNode is why a node's report about a device is refused.
const notAtNode = "the device is at another node, or gone"

var errNotAtNode = errors.New("devices: " + notAtNode)

// checkStillAt asks the API server, right before a write, whether the device is
// still at the node that this copy names. The copy is from a watch, which may lag,
// and the report may have waited for the rate limit. It costs one read for each
// write, and a device has at most one write in Config.Every.
func (c *Controller) checkStillAt(ctx context.Context, device *v1beta1.Device) error {
	now, err := c.readDevice(ctx, device.Namespace, device.Name)
	if apierrors.IsNotFound(err) || err == nil && now.Spec.NodeName != device.Spec.NodeName {
		return errNotAtNode
	}
	return err
}

// patchStatus makes one attempt to write the status. The caller holds r.mu.
func (c *Controller) patchStatus(ctx context.Context, r *report, device *v1beta1.Device, status v1beta1.DeviceStatusStatus) error {
	client := c.statusClient(device.Namespace)
	if r.last == nil {
		u, err := client.Get(ctx, device.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			if err := c.checkStillAt(ctx, device); err != nil {
				return err
			}
			fresh := newStatus(device)
			fresh.Status = status
			r.last, err = createStatus(ctx, client, fresh)
			return err
		}
		if err != nil {
			return err
		}
		if r.last, err = decode(u, new(v1beta1.DeviceStatus)); err != nil {
			return err
		}
	}
	for _, cond := range r.last.Status.Conditions {
		if !nodeOwns(cond.Type) { // the list is replaced as a whole
			status.Conditions = append(status.Conditions, cond)
		}
	}
	before, err := json.Marshal(map[string]any{"status": r.last.Status})
	if err != nil {
		return err
	}
	after, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	diff, err := jsonmergepatch.CreateThreeWayJSONMergePatch(before, after, before)
	if err != nil {
		return err
	}
	if string(diff) == "{}" {
		return nil
	}
	var patch map[string]any
	if err := json.Unmarshal(diff, &patch); err != nil {
		return err
	}
	patch["metadata"] = map[string]any{"resourceVersion": r.last.ResourceVersion}
	if diff, err = json.Marshal(patch); err != nil {
		return err
	}
	if err := c.checkStillAt(ctx, device); err != nil {
		return err
	}
	u, err := client.Patch(ctx, device.Name, types.MergePatchType, diff, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	r.last, err = decode(u, new(v1beta1.DeviceStatus))
	return err
}

func (c *Controller) device(ctx context.Context, name cache.Name) (*v1beta1.Device, error) {
	if item, ok := c.devices.Load(name); ok {
		return item.Object, nil
	}
	return c.readDevice(ctx, name.Namespace, name.Name)
}

func (c *Controller) reportOf(name cache.Name) *report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.reports[name]
	if r == nil {
		r = &report{limit: rate.NewLimiter(rate.Every(c.cfg.Every), burst)}
		c.reports[name] = r
	}
	return r
}

func (c *Controller) statusClient(namespace string) dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(v1beta1.GroupVersion().WithResource(resources.DeviceStatuses)).Namespace(namespace)
}

// newStatus returns the empty DeviceStatus of a device. The device owns it, so it is
// deleted with the device.
func newStatus(device *v1beta1.Device) *v1beta1.DeviceStatus {
	s := &v1beta1.DeviceStatus{ObjectMeta: metav1.ObjectMeta{
		Namespace: device.Namespace, Name: device.Name,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(device, v1beta1.GroupVersion().WithKind("Device"))},
	}}
	s.SetGroupVersionKind(v1beta1.GroupVersion().WithKind("DeviceStatus"))
	return s
}

func createStatus(ctx context.Context, client dynamic.ResourceInterface, s *v1beta1.DeviceStatus) (*v1beta1.DeviceStatus, error) {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s)
	if err != nil {
		return nil, err
	}
	u, err := client.Create(ctx, &unstructured.Unstructured{Object: raw}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return decode(u, new(v1beta1.DeviceStatus))
}
