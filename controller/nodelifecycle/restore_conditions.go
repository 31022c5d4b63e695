package nodelifecycle

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// When nobody has renewed a Lease for about 50 s, Kubernetes' node lifecycle
// controller sets the node's own conditions to Unknown and, minutes later, evicts
// its pods. A node reports its conditions only when they change, and one without
// a link cannot report. So the cloudcore that renews the Lease again restores the
// conditions that the node last reported.

// reasonUnknown is the reason of the node controller's own conditions.
const reasonUnknown = "NodeStatusUnknown"

// ReasonRestored is the reason of a condition that cloudcore put back.
const ReasonRestored = "RestoredByCloudcore"

// nodeConditions are the conditions that the node controller overwrites.
var nodeConditions = []corev1.NodeConditionType{
	corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure,
}

func nodeCondition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	i := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &node.Status.Conditions[i]
}

// isReady reports that the Node is Ready.
func isReady(node *corev1.Node) bool {
	ready := nodeCondition(node, corev1.NodeReady)
	return ready != nil && ready.Status == corev1.ConditionTrue
}

// isUnknown reports that Kubernetes has set the node's own conditions to Unknown.
func isUnknown(node *corev1.Node) bool {
	ready := nodeCondition(node, corev1.NodeReady)
	return ready != nil && ready.Status == corev1.ConditionUnknown && ready.Reason == reasonUnknown
}

// reportedConditions returns the node's own conditions as "Ready=True,DiskPressure=False",
// or nothing while Kubernetes has them at Unknown.
func reportedConditions(node *corev1.Node) string {
	if isUnknown(node) {
		return ""
	}
	var parts []string
	for _, kind := range nodeConditions {
		if c := nodeCondition(node, kind); c != nil && c.Status != corev1.ConditionUnknown {
			parts = append(parts, string(kind)+"="+string(c.Status))
		}
	}
	return strings.Join(parts, ",")
}

// restoredConditions returns the conditions to restore on a node whose own conditions
// Kubernetes has set to Unknown.
func restoredConditions(node *corev1.Node, memory string, now time.Time) []corev1.NodeCondition {
	if !isUnknown(node) {
		return nil
	}
	var back []corev1.NodeCondition
	for part := range strings.SplitSeq(memory, ",") {
		kind, status, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(nodeConditions, corev1.NodeConditionType(kind)) {
			continue
		}
		back = append(back, corev1.NodeCondition{
			Type: corev1.NodeConditionType(kind), Status: corev1.ConditionStatus(status),
			LastHeartbeatTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
			Reason: ReasonRestored, Message: "restored from the node's last report: no cloudcore ran for a while",
		})
	}
	return back
}
