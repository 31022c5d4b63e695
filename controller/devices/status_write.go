package devices

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/csaupgrade"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/meta/resources"
)

// The field managers of what is applied. Each applies all of its fields, so that a field
// that it drops goes, and none needs to know the others' fields.
const (
	reportManager = "edgekit-device-reports"    // what nodes report
	cloudManager  = "edgekit-device-controller" // what cloudcore finds
	oldManager    = "cloudcore"                 // wrote by merge patch before
)

// Pauses before a write that failed is tried again.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// startWriters has the reports written in turns until ctx ends.
func (c *Controller) startWriters(ctx context.Context, g *errgroup.Group) {
	due := make(chan cache.Name)
	g.Go(func() error {
		defer close(due)
		for {
			name, ok := c.turns.next(ctx)
			if !ok {
				return nil
			}
			due <- name // the writers read until it is closed
		}
	})
	for range writers {
		g.Go(func() error {
			c.writeReports(ctx, due)
			return nil
		})
	}
}

// writeReports writes the device whose turn it is, until due is closed. writers of these run
// at the same time.
func (c *Controller) writeReports(ctx context.Context, due <-chan cache.Name) {
	for name := range due {
		if r := c.lastReport(name); r != nil && ctx.Err() == nil {
			if err := c.writeReport(ctx, name, r); err != nil && ctx.Err() == nil {
				r.failed++
				pause := min(firstRetry<<min(r.failed-1, 10), lastRetry)
				c.cfg.Logger.Warn("a DeviceStatus could not be written, trying again", "namespace", name.Namespace, "device", name.Name, "pause", pause, "err", err)
				c.turns.delay(name, pause)
			} else {
				r.failed = 0
			}
		}
		c.turns.done(name)
	}
}

// writeReport writes the newest report of a device: the DeviceStatus and the summary in the
// Device, each if it differs from what was written before.
func (c *Controller) writeReport(ctx context.Context, name cache.Name, r *report) error {
	r.mu.Lock()
	node, body, received, base := r.node, r.body, r.received, r.base
	before := r.written
	r.mu.Unlock()
	if body == nil {
		return nil
	}
	here := c.notifier.Subscribed(node)
	device, err := c.readDevice(ctx, name.Namespace, name.Name) // the watch may lag
	switch {
	case apierrors.IsNotFound(err), err == nil && device.Spec.NodeName != node:
		c.finish(r, node, body) // it is not the node's to report any more
		return nil
	case err != nil:
		return err
	}
	next, err := composeReport(body, before.since)
	if err != nil {
		return err
	}
	now := written{uid: before.uid, sum: next.sum, state: next.status.State, since: next.unstoredSince(), bad: next.bad()}
	if before.uid == "" || before.sum != next.sum {
		// While the node has its session here, this cloudcore alone writes. Later another may
		// have it: then this write is for the version that was seen last.
		if here {
			base = ""
		}
		got, err := c.applyStatus(ctx, device, next, base)
		if refused(err, r.failed) {
			next.refuse(err)
			now.since, now.bad = next.unstoredSince(), next.bad()
			got, err = c.applyStatus(ctx, device, next, base)
		}
		if apierrors.IsConflict(err) && base != "" {
			return c.yield(ctx, name, r, body, received)
		}
		if err != nil {
			return err
		}
		now.uid, base = got.GetUID(), got.GetResourceVersion()
	}
	now.summary, err = c.applySummary(ctx, device, before.summary, next.status, received)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.written, r.base = now, base
	r.mu.Unlock()
	c.finish(r, node, body)
	c.recordChanges(ctx, device, before, now, next)
	return nil
}

// refused reports whether the API server will never take the report. It has no code of its own
// for a few contents that it cannot take, so an internal error counts too in the end.
func refused(err error, failed int) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		apierrors.IsInternalError(err) && failed >= 5
}

// yield decides about a report of a node that has no session here any more, after somebody
// else wrote the DeviceStatus. If that was another cloudcore that had a newer report, this one
// is dropped; else it is tried again.
func (c *Controller) yield(ctx context.Context, name cache.Name, r *report, body []byte, received time.Time) error {
	got, err := c.statusClient(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil {
		for _, f := range got.GetManagedFields() {
			if f.Manager == reportManager && f.Time != nil && f.Time.After(received) {
				c.settled(r, body)
				r.release()
				return nil
			}
		}
		r.mu.Lock()
		r.base = got.GetResourceVersion()
		r.mu.Unlock()
	}
	c.turns.delay(name, 0)
	return nil
}

// finish says that a report of a node needs no write any more, and drops it if the node has no
// session here.
func (c *Controller) finish(r *report, node string, body []byte) {
	c.settled(r, body)
	if !c.notifier.Subscribed(node) {
		r.release()
	}
}

// settled says that a report needs no write any more, unless a newer one came.
func (c *Controller) settled(r *report, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(body) == 0 || len(r.body) == 0 || &r.body[0] != &body[0] {
		return
	}
	c.waiting.Release(r.waiting)
	r.waiting = 0
}

// applyStatus applies a report to the DeviceStatus of a device; without one it creates it.
// With base, it does so only if the DeviceStatus has that resource version.
func (c *Controller) applyStatus(ctx context.Context, device *v1beta1.Device, next *composed, base string) (*unstructured.Unstructured, error) {
	client := c.statusClient(device.Namespace)
	body, err := json.Marshal(applied(device, base, next.status))
	if err != nil {
		return nil, err
	}
	got, err := client.Patch(ctx, device.Name, types.ApplyPatchType, body, forced(reportManager))
	if err != nil {
		return nil, err
	}
	managers := sets.New(oldManager)
	if !wroteBefore(got, managers) {
		return got, nil
	}
	// An earlier version wrote by merge patch: its fields become this manager's, or they
	// stayed for ever.
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(got, managers, reportManager)
	if err != nil {
		return nil, fmt.Errorf("devices: take over fields: %w", err)
	}
	if err := c.limit.Wait(ctx); err != nil {
		return nil, err
	}
	if _, err := client.Patch(ctx, device.Name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return nil, err
	}
	return client.Patch(ctx, device.Name, types.ApplyPatchType, body, forced(reportManager))
}

func wroteBefore(obj *unstructured.Unstructured, managers sets.Set[string]) bool {
	for _, f := range obj.GetManagedFields() {
		if f.Operation == metav1.ManagedFieldsOperationUpdate && managers.Has(f.Manager) {
			return true
		}
	}
	return false
}

func forced(manager string) metav1.PatchOptions {
	return metav1.PatchOptions{FieldManager: manager, Force: new(true)}
}

// applied is the configuration to apply to the DeviceStatus of a device. The device owns it,
// so it is deleted with the device.
func applied(device *v1beta1.Device, version string, status any) map[string]any {
	metadata := map[string]any{
		"name": device.Name, "namespace": device.Namespace,
		"ownerReferences": []metav1.OwnerReference{*metav1.NewControllerRef(device, v1beta1.GroupVersion().WithKind("Device"))},
	}
	if version != "" {
		metadata["resourceVersion"] = version
	}
	return map[string]any{
		"apiVersion": v1beta1.GroupVersion().String(), "kind": "DeviceStatus", "metadata": metadata, "status": status,
	}
}

// seenEvery is how often the time of a device that reports nothing new is written.
const seenEvery = time.Minute

// applySummary brings the summary in Device.status up to date, if it differs from before.
func (c *Controller) applySummary(ctx context.Context, device *v1beta1.Device, before v1beta1.Summary, status v1beta1.DeviceStatusStatus, received time.Time) (v1beta1.Summary, error) {
	seen := metav1.NewTime(received.UTC().Truncate(time.Second))
	next := v1beta1.Summary{State: status.State, Values: summary.Values(status.Twins), LastSeen: &seen}
	if before.LastSeen == nil {
		before = device.Status
	}
	if before.State == next.State && before.Values == next.Values && before.LastSeen != nil && seen.Sub(before.LastSeen.Time) < seenEvery {
		return before, nil
	}
	if err := c.limit.Wait(ctx); err != nil {
		return before, err
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.GroupVersion().String(), "kind": "Device",
		"metadata": map[string]any{"name": device.Name, "namespace": device.Namespace, "uid": device.UID}, "status": next,
	})
	if err != nil {
		return before, err
	}
	_, err = c.deviceClient(device.Namespace).Patch(ctx, device.Name, types.ApplyPatchType, body, forced(reportManager), "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return before, nil // the Device is gone, or another has its name
	}
	return next, err
}

func (c *Controller) statusClient(namespace string) dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(v1beta1.GroupVersion().WithResource(resources.DeviceStatuses)).Namespace(namespace)
}

func (c *Controller) deviceClient(namespace string) dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(v1beta1.GroupVersion().WithResource(resources.Devices)).Namespace(namespace)
}

// restore has a DeviceStatus written again that somebody deleted, or that another cloudcore
// made again without the values. Only the cloudcore that has the node's session does it: the
// node reports a device only when something changes.
func (c *Controller) restore(name cache.Name, have *v1beta1.DeviceStatus) {
	r := c.lastReport(name)
	if r == nil {
		return
	}
	r.mu.Lock()
	again := r.body != nil && r.written.uid != "" && (have == nil || r.written.uid != have.UID) && c.notifier.Subscribed(r.node)
	if again {
		r.written = r.written.summarized()
	}
	r.mu.Unlock()
	if again {
		c.turns.add(name, true)
	}
}
