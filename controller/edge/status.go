package edge

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// tokenExpired is a condition of edgekit's own: edged.ConditionTokenExpired.
const tokenExpired corev1.PodConditionType = "edgekit.io/TokenExpired"

// nodeOwns reports that the node, and nobody else, sets a pod condition.
func nodeOwns(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady, corev1.PodReadyToStartContainers,
		corev1.PodResizePending, corev1.PodResizeInProgress, tokenExpired:
		return true
	}
	return false
}

// podStatusPatch gives a strategic merge patch that makes the pod's status what
// the node reports, whatever it is now, without touching what others own:
//
//   - a field that the node owns and does not report is cleared,
//   - a list whose items would merge is replaced,
//   - a condition that the node owns and does not report is removed, conditions
//     of others stay.
//
// The uid has the API server refuse the patch for another pod of that name.
func podStatusPatch(pod *corev1.Pod) ([]byte, error) {
	status, err := byField(pod.Status)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"nominatedNodeName", "qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus"} {
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

	conditions := []any{}
	reported := make(map[corev1.PodConditionType]bool)
	for _, c := range pod.Status.Conditions {
		reported[c.Type] = true
		conditions = append(conditions, c)
	}
	for _, t := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress, corev1.PodReadyToStartContainers, tokenExpired} {
		if !reported[t] {
			conditions = append(conditions, map[string]any{"$patch": "delete", "type": t})
		}
	}
	status["conditions"] = conditions
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
}

// nodeStatusPatch gives a strategic merge patch that makes the node's status
// what it reports. Conditions of others stay.
func nodeStatusPatch(node *corev1.Node) ([]byte, error) {
	status, err := byField(node.Status)
	if err != nil {
		return nil, err
	}
	delete(status, "volumesAttached") // set in the cloud
	replaceItems(status, "addresses")
	return json.Marshal(map[string]any{"status": status})
}

// byField gives the JSON of v by field.
func byField(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	var out map[string]any
	return out, json.Unmarshal(raw, &out)
}

// replaceItems has a strategic merge patch replace the list instead of merging
// its items into the one that is there.
func replaceItems(status map[string]any, name string) {
	items, _ := status[name].([]any)
	status[name] = append([]any{map[string]any{"$patch": "replace"}}, items...)
}
