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
	if !cache.WaitSynced(ctx, c.devices.Synced(), c.models.Synced(), c.statuses.Synced()) {
		return
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

// reconcile makes the device's DeviceStatus have the right condition ModelFound, and sees to a
// move. It writes only what differs.
func (c *Controller) reconcile(ctx context.Context, name cache.Name) error {
	item, ok := c.devices.Load(name)
	if !ok || item.Object.DeletionTimestamp != nil {
		return nil
	}
	device := item.Object
	c.finishMove(ctx, device)
	want := metav1.Condition{
		Type: v1beta1.ConditionModelFound, Status: metav1.ConditionTrue, Reason: ReasonModelFound,
		Message: fmt.Sprintf("DeviceModel %s exists", device.Spec.ModelRef.Name), ObservedGeneration: device.Generation,
		LastTransitionTime: metav1.NewTime(time.Now().UTC().Truncate(time.Second)),
	}
	if _, found := c.models.Load(cache.Name{Namespace: name.Namespace, Name: device.Spec.ModelRef.Name}); !found {
		want.Status, want.Reason = metav1.ConditionFalse, ReasonModelMissing
		want.Message = fmt.Sprintf("DeviceModel %s does not exist in namespace %s", device.Spec.ModelRef.Name, name.Namespace)
	}
	var old *metav1.Condition
	if have, ok := c.statuses.Load(name); ok {
		c.restore(name, have.Object)
		old = apimeta.FindStatusCondition(have.Object.Status.Conditions, want.Type)
	} else {
		c.restore(name, nil)
	}
	// A generation alone is not worth a write.
	if old != nil && old.Status == want.Status && old.Message == want.Message {
		return nil
	}
	if !c.cfg.Mine("device " + name.Namespace + "/" + name.Name) {
		c.queue.AddAfter(name, othersDelay) // until it is written, or this cloudcore's to write
		return nil
	}
	if old != nil && old.Status == want.Status {
		want.LastTransitionTime = old.LastTransitionTime
	}
	body, err := json.Marshal(applied(device, "", map[string]any{"conditions": []metav1.Condition{want}}))
	if err != nil {
		return fmt.Errorf("devices: condition: %w", err)
	}
	if err := c.limit.Wait(ctx); err != nil {
		return err
	}
	if _, err := c.statusClient(name.Namespace).Patch(ctx, name.Name, types.ApplyPatchType, body, forced(cloudManager)); err != nil {
		return fmt.Errorf("devices: condition: %w", err)
	}
	if want.Status == metav1.ConditionTrue {
		return nil
	}
	// Several cloudcores create one event, since its name says what it is about.
	return c.createEvent(ctx, device, fmt.Sprintf("model-missing.%d", device.Generation), corev1.EventTypeWarning, want.Reason, want.Message)
}
