package devices

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// Reasons of the condition ModelFound.
const (
	ReasonModelFound   = "ModelFound"
	ReasonModelMissing = "ModelMissing"
)

// reconcileAll sees to the DeviceStatus of each device in the queue, until the
// queue is shut down.
func (c *Controller) reconcileAll(ctx context.Context, queue workqueue.TypedRateLimitingInterface[cache.Name]) {
	for _, synced := range []<-chan struct{}{c.devices.Synced(), c.models.Synced(), c.statuses.Synced()} {
		select {
		case <-ctx.Done():
			return
		case <-synced:
		}
	}
	for {
		name, shutdown := queue.Get()
		if shutdown {
			return
		}
		if err := c.reconcile(ctx, name); err != nil {
			if ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
				c.cfg.Logger.Error("device's condition could not be written", "namespace", name.Namespace, "device", name.Name, "err", err)
			}
			queue.AddRateLimited(name)
		} else {
			queue.Forget(name)
		}
		queue.Done(name)
	}
}

// reconcile makes the device's DeviceStatus have the right condition ModelFound. It writes only
// what differs.
func (c *Controller) reconcile(ctx context.Context, name cache.Name) error {
	item, ok := c.devices.Load(name)
	if !ok || item.Object.DeletionTimestamp != nil {
		return nil
	}
	device := item.Object
	want := metav1.Condition{
		Type: v1beta1.ConditionModelFound, Status: metav1.ConditionTrue, Reason: ReasonModelFound,
		Message: fmt.Sprintf("DeviceModel %s exists", device.Spec.ModelRef.Name), ObservedGeneration: device.Generation,
	}
	if _, found := c.models.Load(cache.Name{Namespace: name.Namespace, Name: device.Spec.ModelRef.Name}); !found {
		want.Status, want.Reason = metav1.ConditionFalse, ReasonModelMissing
		want.Message = fmt.Sprintf("DeviceModel %s does not exist in namespace %s", device.Spec.ModelRef.Name, name.Namespace)
	}
	have, ok := c.statuses.Load(name)
	if !ok {
		if err := c.makeStatus(ctx, device, want); err != nil {
			return fmt.Errorf("devices: create status: %w", err)
		}
		return c.recordModelMissing(ctx, device, want)
	}
	if err := c.restoreStatus(ctx, device, have.Object); err != nil {
		return fmt.Errorf("devices: restore status: %w", err)
	}
	// A generation alone is not worth a write.
	old := apimeta.FindStatusCondition(have.Object.Status.Conditions, want.Type)
	if old != nil && old.Status == want.Status && old.Message == want.Message {
		return nil
	}
	conditions := have.Object.DeepCopy().Status.Conditions
	apimeta.SetStatusCondition(&conditions, want)
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": have.Object.ResourceVersion},
		"status":   map[string]any{"conditions": conditions},
	})
	if err != nil {
		return fmt.Errorf("devices: condition: %w", err)
	}
	_, err = c.statusClient(name.Namespace).Patch(ctx, name.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("devices: condition: %w", err)
	}
	return c.recordModelMissing(ctx, device, want)
}

// recordModelMissing creates the event about a missing model. Its name depends on
// its content, so that several cloudcores create one event.
func (c *Controller) recordModelMissing(ctx context.Context, device *v1beta1.Device, cond metav1.Condition) error {
	if cond.Status != metav1.ConditionFalse {
		return nil
	}
	now := metav1.NewTime(time.Now())
	_, err := c.cfg.Cloud.CoreV1().Events(device.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: device.Namespace,
			Name:      fmt.Sprintf("%.200s.model-missing.%d", device.Name, device.Generation),
		},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1beta1.GroupVersion().String(), Kind: "Device",
			Namespace: device.Namespace, Name: device.Name, UID: device.UID, ResourceVersion: device.ResourceVersion,
		},
		Type: corev1.EventTypeWarning, Reason: cond.Reason, Message: cond.Message,
		Source:         corev1.EventSource{Component: "cloudcore"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("devices: event: %w", err)
	}
	return nil
}
