package edge

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta/resources"
)

// tokenExpired is a condition of edgekit's own: edged.ConditionTokenExpired.
const tokenExpired corev1.PodConditionType = "edgekit.io/TokenExpired"

// podConditions are the conditions that only the node sets on a pod: those of
// kubelet, and edged's own.
func podConditions() []corev1.PodConditionType {
	return []corev1.PodConditionType{
		corev1.PodScheduled, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodReadyToStartContainers,
		corev1.PodResizePending, corev1.PodResizeInProgress, corev1.AllContainersRestarting, tokenExpired,
	}
}

// nodeOwns reports whether only the node sets a pod condition.
func nodeOwns(t corev1.PodConditionType) bool { return slices.Contains(podConditions(), t) }

// nodeMaySet reports whether a condition of a report is written. A condition of
// others that the node merely repeats is not: they may have changed or removed it
// since. DisruptionTarget is shared; the node may set it on a pod that it has ended
// itself, as kubelet does (reason TerminationByKubelet).
func nodeMaySet(c *corev1.PodCondition, phase corev1.PodPhase) bool {
	if c.Type == corev1.DisruptionTarget {
		return c.Reason == corev1.PodReasonTerminationByKubelet && isTerminal(phase)
	}
	return nodeOwns(c.Type)
}

// isTerminal reports that a pod of that phase has ended.
func isTerminal(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// alwaysReported reports whether each complete status of a node has the condition. A status
// without it is a partial report, and removes no condition.
func alwaysReported(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodScheduled, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady:
		return true
	}
	return false
}

// nodeConditions are the conditions that the node sets on its Node: those of a kubelet, and
// the one of its MQTT broker.
// NetworkUnavailable belongs to network plugins, every other one to whoever set it.
func nodeConditions() []corev1.NodeConditionType {
	return []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, resources.ConditionMQTT}
}

// podStatusPatch returns a strategic merge patch that makes the pod's status what
// the node reports, whatever it is now, without touching what others own:
//
//   - a field that the node owns and does not report is cleared,
//   - a list whose items would merge is replaced,
//   - a condition that the node owns and does not report is removed, conditions
//     of others stay as they are,
//   - a phase that is terminal in the API server stays, with its reason and
//     message, and such a pod does not become ready.
//
// phase is the one that the pod has in the API server. The uid has the API
// server refuse the patch for another pod of that name.
func podStatusPatch(pod *corev1.Pod, phase corev1.PodPhase) ([]byte, error) {
	status, err := byField(pod.Status)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"nominatedNodeName", "qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus", "nodeAllocatableResourceClaimStatuses"} {
		delete(status, name) // set in the cloud
	}
	for _, name := range []string{
		"message", "reason", "hostIP", "podIP", "startTime", "resize",
		"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses",
	} {
		if _, reported := status[name]; !reported {
			status[name] = nil
		}
	}
	replaceItems(status, "podIPs")
	replaceItems(status, "hostIPs")

	ended := isTerminal(phase) && pod.Status.Phase != phase
	if ended {
		for _, name := range []string{"phase", "reason", "message"} {
			delete(status, name)
		}
	}
	conditions := []any{}
	reported := make(map[corev1.PodConditionType]bool)
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		reported[c.Type] = true
		unready := c.Type != corev1.PodReady && c.Type != corev1.ContainersReady || c.Status == corev1.ConditionFalse
		if nodeMaySet(c, pod.Status.Phase) && (unready || !ended) {
			conditions = append(conditions, c)
		}
	}
	for _, t := range podConditions() {
		if !reported[t] && !alwaysReported(t) {
			conditions = append(conditions, map[string]any{"$patch": "delete", "type": t})
		}
	}
	status["conditions"] = conditions
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
}

// nodeStatusPatch returns a strategic merge patch that makes the Node's status what the node
// reports. Conditions of others stay unchanged.
func nodeStatusPatch(node *corev1.Node) ([]byte, error) {
	plain := node.Status
	plain.Conditions = slices.DeleteFunc(slices.Clone(plain.Conditions), func(c corev1.NodeCondition) bool {
		return !slices.Contains(nodeConditions(), c.Type)
	})
	status, err := byField(plain)
	if err != nil {
		return nil, err
	}
	delete(status, "volumesAttached") // set in the cloud
	for _, name := range []string{"volumesInUse", "runtimeHandlers", "features", "declaredFeatures"} {
		if _, reported := status[name]; !reported {
			status[name] = nil
		}
	}
	if info, ok := status["nodeInfo"].(map[string]any); ok && info["swap"] == nil {
		info["swap"] = nil // turned off since
	}
	replaceItems(status, "addresses")
	if !slices.ContainsFunc(plain.Conditions, func(c corev1.NodeCondition) bool { return c.Type == resources.ConditionMQTT }) {
		conditions, _ := status["conditions"].([]any) // a node that has no external broker any more
		status["conditions"] = append(conditions, map[string]any{"$patch": "delete", "type": resources.ConditionMQTT})
	}
	return json.Marshal(map[string]any{"status": status})
}

// byField returns the JSON of v by field.
func byField(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	var out map[string]any
	return out, json.Unmarshal(raw, &out)
}

// replaceItems makes a strategic merge patch replace the list. Otherwise the API
// server would merge its items into the existing ones.
func replaceItems(status map[string]any, name string) {
	items, _ := status[name].([]any)
	status[name] = append([]any{map[string]any{"$patch": "replace"}}, items...)
}
