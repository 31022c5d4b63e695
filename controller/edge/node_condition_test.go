package edge

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/edgekit/edgekit/meta/resources"
)

// TestBrokerCondition lets the condition of a node's MQTT broker through and removes it when
// the node has none any more. Conditions of others stay.
func TestBrokerCondition(t *testing.T) {
	have := corev1.NodeStatus{Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "Plugin"},
	}}
	for _, test := range []struct {
		name     string
		reported []corev1.NodeCondition
		want     map[corev1.NodeConditionType]corev1.ConditionStatus
	}{
		{"none", nil, map[corev1.NodeConditionType]corev1.ConditionStatus{corev1.NodeNetworkUnavailable: corev1.ConditionFalse}},
		{
			"unavailable", []corev1.NodeCondition{{Type: resources.ConditionMQTT, Status: corev1.ConditionTrue, Reason: "BadCredentials"}, {Type: "Other", Status: corev1.ConditionTrue}},
			map[corev1.NodeConditionType]corev1.ConditionStatus{corev1.NodeNetworkUnavailable: corev1.ConditionFalse, resources.ConditionMQTT: corev1.ConditionTrue},
		},
		{
			"connected", []corev1.NodeCondition{{Type: resources.ConditionMQTT, Status: corev1.ConditionFalse}},
			map[corev1.NodeConditionType]corev1.ConditionStatus{corev1.NodeNetworkUnavailable: corev1.ConditionFalse, resources.ConditionMQTT: corev1.ConditionFalse},
		},
		{"gone", nil, map[corev1.NodeConditionType]corev1.ConditionStatus{corev1.NodeNetworkUnavailable: corev1.ConditionFalse}},
	} {
		patch, err := nodeStatusPatch(&corev1.Node{Status: corev1.NodeStatus{Conditions: test.reported}})
		if err != nil {
			t.Fatal(err)
		}
		old, err := json.Marshal(corev1.Node{Status: have})
		if err != nil {
			t.Fatal(err)
		}
		patched, err := strategicpatch.StrategicMergePatch(old, patch, corev1.Node{})
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var node corev1.Node
		if err := json.Unmarshal(patched, &node); err != nil {
			t.Fatal(err)
		}
		got := map[corev1.NodeConditionType]corev1.ConditionStatus{}
		for _, c := range node.Status.Conditions {
			got[c.Type] = c.Status
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		for kind, status := range test.want {
			if got[kind] != status {
				t.Errorf("%s: %s is %q, want %q", test.name, kind, got[kind], status)
			}
		}
		have = node.Status
	}
}
