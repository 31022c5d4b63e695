package plan

import corev1 "k8s.io/api/core/v1"

// ConditionHeldUpgrade is a condition of pods: True while the pod waits for somebody to
// release it. Otherwise the pod has no such condition. The names are KubeEdge's.
const ConditionHeldUpgrade corev1.PodConditionType = "HeldUpgrade"

const messageHeld = "the pod waits until somebody releases it: edgectl unhold"

// heldUpgrade is that condition.
func heldUpgrade() corev1.PodCondition {
	return corev1.PodCondition{Type: ConditionHeldUpgrade, Status: corev1.ConditionTrue, Reason: "HoldUpgradeEnabled", Message: messageHeld}
}
