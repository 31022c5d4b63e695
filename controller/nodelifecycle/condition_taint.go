package nodelifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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
	// ReasonCloudcoreLost: the cloudcore that held the session has ended, and the node has
	// not connected to another.
	ReasonCloudcoreLost = "CloudcoreLost"
	// ReasonAutonomyEnded: the link has been down for longer than the node's policy allows,
	// so the node is no longer kept.
	ReasonAutonomyEnded = "AutonomyEnded"
	// ReasonGivenUp: an operator gave the node up.
	ReasonGivenUp = "GivenUp"
)

// wantCondition returns the condition that the node should have. A node without a
// session here keeps the time and cause of its condition, if that is False.
func wantCondition(node *corev1.Node, session Session, now time.Time) corev1.NodeCondition {
	c := corev1.NodeCondition{
		Type: ConditionConnected, Status: corev1.ConditionFalse,
		LastTransitionTime: metav1.NewTime(session.Since), LastHeartbeatTime: metav1.NewTime(now),
		Reason: ReasonDisconnected,
	}
	old := nodeCondition(node, ConditionConnected)
	cause := session.Reason
	switch {
	case session.Connected:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, ReasonConnected, "the node's link to the cloud stands"
		return c
	case !session.Known && old != nil && old.Status == corev1.ConditionFalse:
		c.LastTransitionTime, c.Reason, cause = old.LastTransitionTime, old.Reason, causeOf(old.Message)
		if at, ok := taintedAt(node); ok { // which the node could not write
			c.LastTransitionTime = metav1.NewTime(at)
		} else {
			c.LastTransitionTime = metav1.NewTime(now)
		}
	case !session.Known:
		c.Reason, c.LastTransitionTime = ReasonCloudcoreLost, metav1.NewTime(now)
	}
	p := policyOf(node)
	switch since := c.LastTransitionTime.Time; {
	case isOutOfService(node):
		c.Reason, c.Message = ReasonGivenUp, "it is out of service, and its pods are no longer its own"
	case !p.forever && now.Sub(since) >= p.limit:
		c.Reason, c.Message = ReasonAutonomyEnded, p.describe(since, now)
	default:
		c.Message = p.describe(since, now)
	}
	c.Message = linkDown + c.Message
	if cause != "" {
		c.Message += causePrefix + cause
	}
	return c
}

// The message of the condition on a node without a link: down, what that
// means, because, and the cause, where it is known.
const (
	linkDown    = "the node's link to the cloud is down; "
	causePrefix = "; cause: "
)

func causeOf(message string) string {
	_, cause, _ := strings.Cut(message, causePrefix)
	return cause
}

// writeConditions writes the conditions and taints that differ from those of the Node. The
// first condition is ConditionConnected.
func (k *Controller) writeConditions(ctx context.Context, node *corev1.Node, want []corev1.NodeCondition) error {
	differs := slices.ContainsFunc(want, func(w corev1.NodeCondition) bool {
		have := nodeCondition(node, w.Type)
		return have == nil || have.Status != w.Status || have.Reason != w.Reason || have.Message != w.Message ||
			have.LastTransitionTime.Unix() != w.LastTransitionTime.Unix()
	})
	if differs {
		patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": want}})
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
		k.cfg.Logger.Info("node's link changed", "node", node.Name, "connected", want[0].Status, "reason", want[0].Reason,
			"message", want[0].Message, "restored", len(want)-1)
	}
	return k.writeTaint(ctx, node, want[0])
}

// writeTaint sets the taint on a node without a link. Its time is when the link was
// lost: nodes cannot write taints, so a cloudcore that starts later can trust it.
// From a node with a link it removes that taint and the one of Abandon. A patch
// replaces the whole list of taints, so it names the version that it was made from.
func (k *Controller) writeTaint(ctx context.Context, node *corev1.Node, link corev1.NodeCondition) error {
	nodes, connected := k.cfg.Cloud.CoreV1().Nodes(), link.Status == corev1.ConditionTrue
	for {
		disconnected := func(t corev1.Taint) bool { return t.Key == DisconnectedTaint }
		ours := func(t corev1.Taint) bool { return disconnected(t) || isAbandoned(t) }
		if connected && !slices.ContainsFunc(node.Spec.Taints, ours) || !connected && slices.ContainsFunc(node.Spec.Taints, disconnected) {
			return nil
		}
		taints := slices.Clone(node.Spec.Taints)
		if connected {
			taints = slices.DeleteFunc(taints, ours)
		} else {
			taints = append(taints, corev1.Taint{Key: DisconnectedTaint, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &link.LastTransitionTime})
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
