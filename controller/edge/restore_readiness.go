package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// markedUnready reports whether another client than the node has set the pod unready: all its
// containers are ready and all its readiness gates are true, and a node never reports such a
// pod unready. Kubernetes' node lifecycle controller does this to all pods of a node whose
// Lease has expired, and never reverts it.
func markedUnready(pod *corev1.Pod) bool {
	status := func(kind corev1.PodConditionType) corev1.ConditionStatus {
		i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
		if i < 0 {
			return corev1.ConditionUnknown
		}
		return pod.Status.Conditions[i].Status
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

// trackReadinessLocked keeps the list of those pods; it needs c.mu.
func (c *Controller) trackReadinessLocked(change cache.Change[*corev1.Pod]) {
	if change.Old != nil {
		c.unready.Remove(change.Old.Spec.NodeName, change.Name)
	}
	if change.New != nil && markedUnready(change.New) {
		c.unready.Add(change.New.Spec.NodeName, change.Name)
	}
}

// RestoreReadiness sets the condition Ready of the node's pods to True again where
// Kubernetes set it to False while the node's Lease had run out. It is for a node
// whose Lease is renewed, and does nothing until the node is Ready again.
func (c *Controller) RestoreReadiness(ctx context.Context, node string) error {
	c.mu.Lock()
	var names []cache.Name
	for name := range c.unready[node] {
		names = append(names, name)
	}
	c.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	item, ok := c.cfg.Nodes.Load(cache.Name{Name: node})
	if !ok || !slices.ContainsFunc(item.Object.Status.Conditions, func(cond corev1.NodeCondition) bool {
		return cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue
	}) {
		return nil // Kubernetes would set it to False again
	}
	for _, name := range names {
		pod, ok := c.pods.Load(name)
		if !ok || pod.Object.Spec.NodeName != node || !markedUnready(pod.Object) {
			continue
		}
		if err := c.restorePod(ctx, node, pod.Object); err != nil {
			return fmt.Errorf("edge: restore %s: %w", hub.Key{Resource: resources.Pods, Namespace: name.Namespace, Name: name.Name}, err)
		}
	}
	return nil
}

func (c *Controller) restorePod(ctx context.Context, node string, pod *corev1.Pod) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(), ObservedGeneration: pod.Generation,
		}}},
	})
	if err != nil {
		return err
	}
	_, err = c.cfg.NodeClient.CoreV1().Pods(pod.Namespace).Patch(impersonate.With(ctx, node), pod.Name,
		types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
