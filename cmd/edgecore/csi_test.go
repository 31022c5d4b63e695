package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/csi"
)

// TestDriversOfTheNode shows the drivers in the CSINode and on the Node, as a kubelet
// does.
func TestDriversOfTheNode(t *testing.T) {
	drivers := []csi.Info{
		{Name: "a.example.com", NodeID: "n-1", Topology: map[string]string{"topology.a/zone": "z", "topology.a/rack": "r"}, MaxVolumes: 1 << 40},
		{Name: "b.example.com", NodeID: "n-2"},
	}
	got := csiNode("gate-7", drivers).Spec.Drivers
	if len(got) != 2 || got[0].NodeID != "n-1" || len(got[0].TopologyKeys) != 2 || got[0].TopologyKeys[0] != "topology.a/rack" ||
		*got[0].Allocatable.Count != 1<<31-1 || got[1].Allocatable != nil {
		t.Errorf("%+v", got)
	}
	before := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7", Labels: map[string]string{"own": "1"}}}
	node := amendNode(before, drivers)
	if node.Labels["own"] != "1" || node.Labels["topology.a/zone"] != "z" || node.Annotations[nodeIDAnnotation] != `{"a.example.com":"n-1","b.example.com":"n-2"}` {
		t.Errorf("%+v", node.ObjectMeta)
	}
	if len(before.Labels) != 1 || before.Annotations != nil {
		t.Error("the agent's own report was changed")
	}
	if amendNode(before, nil) != before {
		t.Error("a node without drivers is copied")
	}
}
