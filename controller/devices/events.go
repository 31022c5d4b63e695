package devices

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// Reasons of the events of a Device.
const (
	EventModelMissing      = ReasonModelMissing  // Warning: the DeviceModel does not exist
	EventMoved             = "Moved"             // Normal: the device is at another node
	EventOnline            = "Online"            // Normal: the state is online or ok again
	EventOffline           = "Offline"           // Warning: the state is no longer online or ok
	EventDesiredRefused    = "DesiredRefused"    // Warning: the node refuses a desired value
	EventDesiredNotApplied = "DesiredNotApplied" // Warning: the device does not have a desired value that was written
	EventConditionFalse    = "ConditionFalse"    // Warning: another condition that the node sets is False
	EventValuesNotStored   = "ValuesNotStored"   // Warning: see the condition ValuesStored
)

// A device has at most eventBurst events at once and one in eventEvery on average: one that
// comes and goes each second fills no event store.
const (
	eventEvery = time.Minute
	eventBurst = 6
)

// Conditions that a node sets and that have an event of their own; see twin/devicesync and
// package device.
const (
	conditionDesiredValid   = "DesiredValid"
	conditionDesiredApplied = "DesiredApplied"
	conditionEnabled        = "Enabled"
)

// recordChanges creates events for what changed between two writes of a device.
func (c *Controller) recordChanges(ctx context.Context, device *v1beta1.Device, before, now written, next *composed) {
	known := before.summary.LastSeen != nil // something was written before
	if was, is := alive(before.state), alive(now.state); known && was != is && now.state != "" {
		if is {
			c.event(ctx, device, corev1.EventTypeNormal, EventOnline, "the state is "+now.state)
		} else {
			c.event(ctx, device, corev1.EventTypeWarning, EventOffline, fmt.Sprintf("the state is %s, it was %s", now.state, before.state))
		}
	}
	for _, kind := range now.bad {
		if slices.Contains(before.bad, kind) {
			continue
		}
		reason := EventConditionFalse
		switch kind {
		case conditionDesiredValid:
			reason = EventDesiredRefused
		case conditionDesiredApplied:
			reason = EventDesiredNotApplied
		}
		bad := apimeta.FindStatusCondition(next.status.Conditions, kind)
		c.event(ctx, device, corev1.EventTypeWarning, reason, summary.Shorten(fmt.Sprintf("%s is False: %s: %s", kind, bad.Reason, bad.Message), 900))
	}
	if cond := apimeta.FindStatusCondition(next.status.Conditions, v1beta1.ConditionValuesStored); cond != nil && before.since.IsZero() {
		c.event(ctx, device, corev1.EventTypeWarning, EventValuesNotStored, summary.Shorten(cond.Message, 900))
	}
}

// alive reports whether a state says that the device works.
func alive(state string) bool { return state == "online" || state == "ok" }

// event creates an event of a Device. It is lost if the API server does not take it.
func (c *Controller) event(ctx context.Context, device *v1beta1.Device, kind, reason, message string) {
	name := cache.Name{Namespace: device.Namespace, Name: device.Name}
	if !c.eventLimits.allow(name, time.Now()) {
		return
	}
	id := fnv.New64a()
	fmt.Fprint(id, reason, message, time.Now().UnixNano())
	if err := c.createEvent(ctx, device, fmt.Sprintf("%x", id.Sum64()), kind, reason, message); err != nil && ctx.Err() == nil {
		c.cfg.Logger.Warn("an event of a Device could not be created", "namespace", name.Namespace, "device", name.Name, "reason", reason, "err", err)
	}
}

// createEvent creates an event whose name ends in id. One that is there already is no error.
func (c *Controller) createEvent(ctx context.Context, device *v1beta1.Device, id, kind, reason, message string) error {
	if err := c.limit.Wait(ctx); err != nil {
		return err
	}
	now := metav1.NewTime(time.Now())
	_, err := c.cfg.Cloud.CoreV1().Events(device.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: device.Namespace, Name: fmt.Sprintf("%.200s.%s", device.Name, id)},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1beta1.GroupVersion().String(), Kind: "Device",
			Namespace: device.Namespace, Name: device.Name, UID: device.UID, ResourceVersion: device.ResourceVersion,
		},
		Type: kind, Reason: reason, Message: message,
		Source:         corev1.EventSource{Component: "cloudcore"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("devices: event: %w", err)
	}
	return nil
}

// eventLimits bounds the events of each device. The zero value is ready.
type eventLimits struct {
	mu sync.Mutex
	of map[cache.Name]*rate.Limiter
}

// allow reports whether the device may have an event more now.
func (e *eventLimits) allow(name cache.Name, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = make(map[cache.Name]*rate.Limiter)
	}
	if e.of[name] == nil {
		e.of[name] = rate.NewLimiter(rate.Every(eventEvery), eventBurst)
	}
	return e.of[name].AllowN(now, 1)
}

// forget drops what is known of a device that is gone.
func (e *eventLimits) forget(name cache.Name) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.of, name)
}
