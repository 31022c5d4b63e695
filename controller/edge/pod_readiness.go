package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// ReasonNodeDisconnected is the reason of the condition Ready of pods whose node has been without
// a link for long.
const ReasonNodeDisconnected = "NodeDisconnected"

// readinessWriteTimeout bounds one write of MarkNotReady.
const readinessWriteTimeout = 10 * time.Second

// markedUnready reports whether another client than the node has set the pod unready: all its
// containers are ready and all its readiness gates are true, and a node never reports such a
// pod unready. Kubernetes' node lifecycle controller does this to all pods of a node whose
// Lease has expired, and never reverts it.
func markedUnready(pod *corev1.Pod) bool {
	status := func(kind corev1.PodConditionType) corev1.ConditionStatus {
		if c := podCondition(pod, kind); c != nil {
			return c.Status
		}
		return corev1.ConditionUnknown
	}
	if status(corev1.PodReady) != corev1.ConditionFalse || status(corev1.ContainersReady) != corev1.ConditionTrue {
		return false
	}
	for _, gate := range pod.Spec.ReadinessGates {
		if status(gate.ConditionType) != corev1.ConditionTrue {
			return false
		}
	}
	return pod.DeletionTimestamp == nil && !terminal(pod)
}

// markedDisconnected reports whether MarkNotReady has set the pod to not ready.
func markedDisconnected(pod *corev1.Pod) bool {
	c := podCondition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionFalse && c.Reason == ReasonNodeDisconnected && !terminal(pod)
}

// podCondition returns the pod's condition of a kind, or nil.
func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &pod.Status.Conditions[i]
}

// trackReadinessLocked keeps the list of the pods that others than the node have set to not
// ready; it needs c.mu. It reports whether the change has added one.
func (c *Controller) trackReadinessLocked(change cache.Change[*corev1.Pod]) (added bool) {
	had := false
	if change.Old != nil {
		_, had = c.unready[change.Old.Spec.NodeName][change.Name]
		c.unready.Remove(change.Old.Spec.NodeName, change.Name)
	}
	if change.New != nil && (markedUnready(change.New) || markedDisconnected(change.New)) {
		c.unready.Add(change.New.Spec.NodeName, change.Name)
		return !had
	}
	return false
}

// MarkNotReady sets the condition Ready of the node's pods to False, with ReasonNodeDisconnected,
// and returns the number of pods that it changed. All else of their status stays: the
// containers run. A pod that is not ready already stays as it is, and so does one that has
// changed since it was last read. It ends when ctx does, between two pods.
//
// The writes of all nodes together are limited to Config.ReadinessWrites in a second.
func (c *Controller) MarkNotReady(ctx context.Context, node string, since time.Time) (int, error) {
	c.mu.Lock()
	names := slices.Collect(maps.Keys(c.byNode[node]))
	c.mu.Unlock()
	marked := 0
	for _, name := range names {
		pod, ok := c.pods.Load(name)
		if !ok || pod.Object.Spec.NodeName != node || terminal(pod.Object) {
			continue
		}
		if ready := podCondition(pod.Object, corev1.PodReady); ready == nil || ready.Status != corev1.ConditionTrue {
			continue
		}
		if err := c.readinessWrites.Wait(ctx); err != nil {
			return marked, err
		}
		done, err := c.markPod(ctx, node, pod.Object, since)
		if err != nil {
			return marked, fmt.Errorf("edge: set %s to not ready: %w", podKey(name), err)
		}
		if done {
			marked++
		}
	}
	return marked, nil
}

// markPod reports whether it has written the pod.
func (c *Controller) markPod(ctx context.Context, node string, pod *corev1.Pod, since time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readinessWriteTimeout)
	defer cancel()
	patch, err := json.Marshal(map[string]any{
		// A report of the node that was written meanwhile is newer than this.
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now(), ObservedGeneration: pod.Generation,
			Reason: ReasonNodeDisconnected,
			Message: fmt.Sprintf("node %s has had no link to the cloud since %s; its containers were ready then, and keep running",
				node, since.UTC().Format(time.RFC3339)),
		}}},
	})
	if err != nil {
		return false, err
	}
	err = c.patchStatus(ctx, node, pod, patch)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	return err == nil, err
}

// ResendReadiness returns the keys of the reports that a node has to send again when its session
// begins: the status of those pods that others have set to not ready while it was away. So the
// readiness in the API server is again what the node says, by one write for each pod.
func (c *Controller) ResendReadiness(node string) []hub.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := make([]hub.Key, 0, len(c.unready[node]))
	for name := range c.unready[node] {
		keys = append(keys, hub.Key{Resource: resources.PodStatus, Namespace: name.Namespace, Name: name.Name})
	}
	return keys
}

// RestoreReadiness sets the condition Ready of the node's pods to True again where Kubernetes
// set it to False while the node's Lease had run out, or MarkNotReady did, and the node has not
// reported the pod since (see ResendReadiness). It leaves pods whose condition changed before
// since; zero leaves none. It is for a node whose Lease is renewed, and does nothing until the
// node is Ready again. It reports whether pods are left that it may restore later.
func (c *Controller) RestoreReadiness(ctx context.Context, node string, since time.Time) (left bool, _ error) {
	c.mu.Lock()
	names := slices.Collect(maps.Keys(c.unready[node]))
	c.mu.Unlock()
	if len(names) == 0 {
		return false, nil
	}
	item, ok := c.cfg.Nodes.Load(cache.Name{Name: node})
	if !ok || !slices.ContainsFunc(item.Object.Status.Conditions, func(cond corev1.NodeCondition) bool {
		return cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue
	}) {
		return true, nil // Kubernetes would set it to False again
	}
	for _, name := range names {
		pod, ok := c.pods.Load(name)
		if !ok || pod.Object.Spec.NodeName != node || !markedUnready(pod.Object) {
			continue
		}
		if podCondition(pod.Object, corev1.PodReady).LastTransitionTime.Time.Before(since) {
			left = true
			continue
		}
		if err := c.restorePod(ctx, node, pod.Object); err != nil {
			return true, fmt.Errorf("edge: restore %s: %w", podKey(name), err)
		}
	}
	return left, nil
}

func (c *Controller) restorePod(ctx context.Context, node string, pod *corev1.Pod) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []any{conditionPatch(corev1.PodCondition{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(), ObservedGeneration: pod.Generation,
		})}},
	})
	if err != nil {
		return err
	}
	err = c.patchStatus(ctx, node, pod, patch)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// patchStatus patches the status of a pod, as its node.
func (c *Controller) patchStatus(ctx context.Context, node string, pod *corev1.Pod, patch []byte) error {
	_, err := c.cfg.NodeClient.CoreV1().Pods(pod.Namespace).Patch(impersonate.With(ctx, node), pod.Name,
		types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
