package presence

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Reasons of the condition EdgeConnected.
const (
	ReasonConnected    = "Connected"
	ReasonDisconnected = "Disconnected"
	// ReasonCloudcoreLost: the cloudcore that held the session is gone, and
	// the node has not come to another.
	ReasonCloudcoreLost = "CloudcoreLost"
)

func connectedCondition(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == ConditionConnected {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// want gives the condition that is true of the node. A node of which no
// session was seen here keeps what it has, if that says that it is not
// connected.
func want(node *corev1.Node, session Session, now time.Time) corev1.NodeCondition {
	c := corev1.NodeCondition{
		Type: ConditionConnected, Status: corev1.ConditionFalse,
		LastTransitionTime: metav1.NewTime(session.Since), LastHeartbeatTime: metav1.NewTime(now),
		Reason: ReasonDisconnected, Message: "the node's link to the cloud is down; its pods keep running there",
	}
	switch {
	case session.Connected:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, ReasonConnected, "the node's link to the cloud stands"
	case session.Known:
		if session.Reason != "" {
			c.Message = "the node's link to the cloud is down: " + session.Reason
		}
	default:
		if old := connectedCondition(node); old != nil && old.Status == corev1.ConditionFalse {
			return *old
		}
		c.Reason, c.LastTransitionTime = ReasonCloudcoreLost, metav1.NewTime(now)
	}
	return c
}

// tell writes the condition and the taint where they differ from what the Node
// has.
func (k *Keeper) tell(ctx context.Context, node *corev1.Node, want corev1.NodeCondition) error {
	have := connectedCondition(node)
	if have == nil || have.Status != want.Status || have.Reason != want.Reason || have.Message != want.Message ||
		have.LastTransitionTime.Unix() != want.LastTransitionTime.Unix() {
		patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{want}}})
		if err != nil {
			return fmt.Errorf("node condition: %w", err)
		}
		_, err = k.cfg.Cloud.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("node condition: %w", err)
		}
		k.cfg.Logger.Info("node's link changed", "node", node.Name, "connected", want.Status, "reason", want.Reason, "message", want.Message)
	}
	return k.taint(ctx, node, want.Status != corev1.ConditionTrue)
}

// taint sets or removes the taint. The list of taints is replaced as a whole,
// which is why the patch names the version that it was made from.
func (k *Keeper) taint(ctx context.Context, node *corev1.Node, wanted bool) error {
	nodes := k.cfg.Cloud.CoreV1().Nodes()
	for {
		is := func(t corev1.Taint) bool { return t.Key == DisconnectedTaint }
		if slices.ContainsFunc(node.Spec.Taints, is) == wanted {
			return nil
		}
		taints := slices.DeleteFunc(slices.Clone(node.Spec.Taints), is)
		if wanted {
			now := metav1.Now()
			taints = append(taints, corev1.Taint{Key: DisconnectedTaint, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &now})
		}
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": node.ResourceVersion},
			"spec":     map[string]any{"taints": taints},
		})
		if err != nil {
			return fmt.Errorf("node taint: %w", err)
		}
		_, err = nodes.Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("node taint: %w", err)
		}
		if node, err = nodes.Get(ctx, node.Name, metav1.GetOptions{}); err != nil {
			return fmt.Errorf("node taint: %w", err)
		}
	}
}
