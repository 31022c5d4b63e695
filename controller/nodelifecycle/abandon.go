package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// abandonedBy is the value of the out-of-service taint that Abandon sets. A
// taint with another value is an operator's own, and stays when the node
// returns.
const abandonedBy = "edgekit"

func isAbandoned(t corev1.Taint) bool {
	return t.Key == corev1.TaintNodeOutOfService && t.Value == abandonedBy
}

// Errors of Abandon that callers branch on.
var (
	// ErrConnected: the node has a link, so that it is not gone.
	ErrConnected = errors.New("nodelifecycle: node is connected: use 'kubectl drain' to move its pods, or stop its edgecore first")
	// ErrNotEdge: the node has not the role edge.
	ErrNotEdge = errors.New("nodelifecycle: not an edge node")
	// ErrNoNode means that the Node does not exist.
	ErrNoNode = errors.New("nodelifecycle: no such node")
)

// Abandoned is what Abandon did.
type Abandoned struct {
	Pods []string // namespace/name of the pods that were ended
}

// Abandon gives up a node that will not come back. It adds Kubernetes' taint out-of-service, so
// that cloudcore no longer renews its Lease and Kubernetes detaches its volumes. It deletes its
// pods in the API server without waiting for the node, also those that are Terminating, so that
// their owners replace them elsewhere. It may be repeated.
//
// If the node returns nevertheless, it learns by their uids that those pods are no longer its
// own, and ends them; cloudcore then removes the taint.
func Abandon(ctx context.Context, client kubernetes.Interface, name string) (Abandoned, error) {
	var done Abandoned
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return done, fmt.Errorf("%w: %s", ErrNoNode, name)
	}
	if err != nil {
		return done, fmt.Errorf("nodelifecycle: %w", err)
	}
	if _, ok := node.Labels[RoleLabel]; !ok {
		return done, fmt.Errorf("%w: %s lacks the label %s", ErrNotEdge, name, RoleLabel)
	}
	if c := nodeCondition(node, ConditionConnected); c != nil && c.Status == corev1.ConditionTrue {
		return done, fmt.Errorf("%w: %s", ErrConnected, name)
	}
	if err := taintOutOfService(ctx, client, node); err != nil {
		return done, fmt.Errorf("nodelifecycle: %w", err)
	}
	// A pod may have been bound to the node just before the taint: list them twice.
	for range 2 {
		ended, err := endPods(ctx, client, name)
		done.Pods = append(done.Pods, ended...)
		if err != nil {
			return done, fmt.Errorf("nodelifecycle: %w", err)
		}
	}
	slices.Sort(done.Pods)
	done.Pods = slices.Compact(done.Pods)
	return done, nil
}

// taintOutOfService adds the taint, unless the node has one of that key.
func taintOutOfService(ctx context.Context, client kubernetes.Interface, node *corev1.Node) error {
	for !isOutOfService(node) {
		now := metav1.Now()
		taint := corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: abandonedBy, Effect: corev1.TaintEffectNoExecute, TimeAdded: &now}
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": node.ResourceVersion}, // the list is replaced as a whole
			"spec":     map[string]any{"taints": append(slices.Clone(node.Spec.Taints), taint)},
		})
		if err != nil {
			return err
		}
		_, err = client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if !apierrors.IsConflict(err) {
			return err
		}
		if node, err = client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// endPods removes the node's pods from the API server at once, each by its uid,
// and names them.
func endPods(ctx context.Context, client kubernetes.Interface, node string) ([]string, error) {
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
	})
	if err != nil {
		return nil, err
	}
	var ended []string
	now := int64(0)
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Spec.NodeName != node {
			continue
		}
		err := client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // conflict: another pod of that name
			return ended, fmt.Errorf("end pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		ended = append(ended, pod.Namespace+"/"+pod.Name)
	}
	return ended, nil
}
