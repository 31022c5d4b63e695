package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// Writers returns the writers of a node's reports, by resource: "nodes",
// "pods/status", "pods" (mirrors of static pods, and deletes), "events", "csinodes",
// "persistentvolumeclaims/status" and "resourceslices".
func (c *Controller) Writers() map[string]nodesync.Writer {
	return map[string]nodesync.Writer{
		resources.Nodes:     c.writeNode,
		resources.PodStatus: c.writePodStatus,
		resources.Pods:      c.writePod,
		resources.Events:    c.writeEvent,
		resources.CSINodes:  c.writeCSINode,

		resources.ResourceSlices:              c.writeResourceSlices,
		resources.PersistentVolumeClaimStatus: c.writeClaimStatus,
	}
}

// decode reads a report and checks that body and key name the same object.
func decode(obj hub.Object, into metav1.Object) error {
	if obj.Deleted {
		return nodesync.Forbidden(obj.Key, "a node may not delete this")
	}
	if err := jsonlimit.Unmarshal(obj.Body, into); err != nil {
		return nodesync.Invalid(obj.Key, fmt.Errorf("body is not the JSON of a %T: %w", into, err))
	}
	if into.GetName() != obj.Key.Name || into.GetNamespace() != obj.Key.Namespace {
		return nodesync.Invalid(obj.Key, fmt.Errorf("body is about %s/%s: metadata and key must agree", into.GetNamespace(), into.GetName()))
	}
	return nil
}

// writePodStatus writes a pod's status as the node. A report may be hours old: if another
// client has set a terminal phase since, the phase stays.
func (c *Controller) writePodStatus(ctx context.Context, node string, obj hub.Object) error {
	if obj.Deleted {
		return nil // the node was asked for it (ResendReadiness), and has no such pod
	}
	var pod corev1.Pod
	if err := decode(obj, &pod); err != nil {
		return err
	}
	if pod.UID == "" {
		return nodesync.Invalid(obj.Key, errors.New("metadata.uid is empty: a status belongs to one pod, and a name to many over time"))
	}
	have, err := c.currentPod(ctx, &pod)
	switch {
	case apierrors.IsNotFound(err), err == nil && have.UID != pod.UID:
		return nil // the pod that it is about is gone
	case err != nil:
		return nodesync.FromAPI(err)
	case have.Spec.NodeName != node:
		return nodesync.Forbidden(obj.Key, "the pod is bound to another node")
	}
	patch, err := podStatusPatch(&pod, have.Status.Phase)
	if err != nil {
		return nodesync.Invalid(obj.Key, err)
	}
	err = c.patchStatus(ctx, node, &pod, patch)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // conflict: the uid is another
		return nil
	}
	return nodesync.FromAPI(err)
}

// currentPod reads the pod that a report is about: from the cache, or from the API
// server if the cache has no pod of this uid and so may lag.
func (c *Controller) currentPod(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	item, ok := c.pods.Load(cache.Name{Namespace: pod.Namespace, Name: pod.Name})
	if ok && item.Object.UID == pod.UID {
		return item.Object, nil
	}
	return c.cfg.Cloud.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
}

// writePod writes a report about a whole pod: that it has ended on the node, or
// that a static pod runs there.
func (c *Controller) writePod(ctx context.Context, node string, obj hub.Object) error {
	if obj.Deleted {
		return c.deletePod(ctx, node, obj)
	}
	return c.writeMirrorPod(ctx, node, obj)
}

// writeMirrorPod creates the mirror pod of a static pod, as the node. If a mirror
// pod of another manifest exists, or one that is ending, the node sees it and
// replaces it itself.
func (c *Controller) writeMirrorPod(ctx context.Context, node string, obj hub.Object) error {
	var pod corev1.Pod
	if err := decode(obj, &pod); err != nil {
		return err
	}
	if pod.Annotations[corev1.MirrorPodAnnotationKey] == "" {
		return nodesync.Forbidden(obj.Key, "a node may report a pod's status and its end, and mirrors of static pods, not other pods")
	}
	if pod.Spec.NodeName != node {
		return nodesync.Forbidden(obj.Key, "the pod is bound to another node")
	}
	ctx = impersonate.With(ctx, node)
	owner, err := c.node(ctx, node)
	if err != nil {
		return err // the node is not registered yet; that report follows
	}
	yes := true
	pod.UID, pod.ResourceVersion, pod.ManagedFields = "", "", nil
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node, UID: owner.UID, Controller: &yes}}
	_, err = c.cfg.NodeClient.CoreV1().Pods(pod.Namespace).Create(ctx, &pod, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return nodesync.FromAPI(err)
}

// deletePod removes a pod that has ended on the node. The body must name the pod's
// uid, so that no other pod of that name is deleted. The grace period is 0, since
// the containers have ended: kubelet does the same.
func (c *Controller) deletePod(ctx context.Context, node string, obj hub.Object) error {
	var options metav1.DeleteOptions
	if err := jsonlimit.Unmarshal(obj.Body, &options); err != nil {
		return nodesync.Invalid(obj.Key, fmt.Errorf("body is not the JSON of delete options: %w", err))
	}
	if options.Preconditions == nil || options.Preconditions.UID == nil || *options.Preconditions.UID == "" {
		return nodesync.Invalid(obj.Key, errors.New("preconditions.uid is empty: a deletion belongs to one pod, and a name to many over time"))
	}
	if item, ok := c.pods.Load(cache.Name{Namespace: obj.Key.Namespace, Name: obj.Key.Name}); ok {
		if item.Object.UID != *options.Preconditions.UID {
			return nil
		}
		if item.Object.Spec.NodeName != node {
			return nodesync.Forbidden(obj.Key, "the pod is bound to another node")
		}
	}
	now := int64(0)
	err := c.cfg.NodeClient.CoreV1().Pods(obj.Key.Namespace).Delete(impersonate.With(ctx, node), obj.Key.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: options.Preconditions.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return nodesync.FromAPI(err)
}

// maxReportingInstance is the most bytes that the API server accepts in an event's
// reportingInstance (validation of core/v1 Events).
const maxReportingInstance = 128

// writeEvent creates an event, or updates the count of the one that it repeats.
func (c *Controller) writeEvent(ctx context.Context, node string, obj hub.Object) error {
	var event corev1.Event
	if err := decode(obj, &event); err != nil {
		return err
	}
	event.ResourceVersion, event.UID, event.ManagedFields = "", "", nil
	// An event may be about any object, as with every kubelet. Its reporter is always the
	// node.
	event.Source.Host = node
	event.ReportingInstance = node[:min(len(node), maxReportingInstance)]
	events := c.cfg.NodeClient.CoreV1().Events(event.Namespace)
	ctx = impersonate.With(ctx, node)
	_, err := events.Create(ctx, &event, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		patch, jsonErr := json.Marshal(map[string]any{
			"count": event.Count, "lastTimestamp": event.LastTimestamp, "message": event.Message, "series": event.Series,
		})
		if jsonErr != nil {
			return nodesync.Invalid(obj.Key, jsonErr)
		}
		_, err = events.Patch(ctx, event.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if apierrors.IsNotFound(err) {
		// The namespace is gone, or the event expired between two calls; an
		// event is not worth a third.
		return nil
	}
	if apierrors.IsForbidden(err) && terminating(err) {
		return nil
	}
	return nodesync.FromAPI(err)
}

// terminating reports that a write was refused since its namespace is being
// removed.
func terminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
