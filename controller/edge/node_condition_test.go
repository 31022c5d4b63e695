package edge

import (
	"encoding/json"
	"reflect"
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

// TestNodeAbilities replaces what a node says of its runtime and features, and clears what
// it no longer says.
func TestNodeAbilities(t *testing.T) {
	full := corev1.NodeStatus{
		RuntimeHandlers: []corev1.NodeRuntimeHandler{{Name: "kata"}}, Features: &corev1.NodeFeatures{SupplementalGroupsPolicy: new(true)},
		DeclaredFeatures: []string{"F"}, NodeInfo: corev1.NodeSystemInfo{BootID: "1", Swap: &corev1.NodeSwapStatus{Capacity: new(int64(1))}},
		VolumesAttached: []corev1.AttachedVolume{{Name: "v"}},
	}
	for name, want := range map[string]corev1.NodeStatus{
		"none": {}, "others": {RuntimeHandlers: []corev1.NodeRuntimeHandler{{Name: ""}, {Name: "runc2"}}, DeclaredFeatures: []string{"A", "B"}},
	} {
		patch, err := nodeStatusPatch(&corev1.Node{Status: want})
		if err != nil {
			t.Fatal(err)
		}
		old, err := json.Marshal(corev1.Node{Status: full})
		if err != nil {
			t.Fatal(err)
		}
		patched, err := strategicpatch.StrategicMergePatch(old, patch, corev1.Node{})
		if err != nil {
			t.Fatal(err)
		}
		var node corev1.Node
		if err := json.Unmarshal(patched, &node); err != nil {
			t.Fatal(err)
		}
		got := node.Status
		if !reflect.DeepEqual(got.RuntimeHandlers, want.RuntimeHandlers) || got.Features != nil || !reflect.DeepEqual(got.DeclaredFeatures, want.DeclaredFeatures) ||
			got.NodeInfo.Swap != nil || len(got.VolumesAttached) != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
