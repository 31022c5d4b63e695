package nodestatus

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
)

// TestVolumesInUse reports which attached volumes are in use as soon as that changes, and
// asks the cloud to attach only where the node can wait for it.
func TestVolumesInUse(t *testing.T) {
	const asks = "volumes.kubernetes.io/controller-managed-attach-detach"
	synctest.Test(t, func(t *testing.T) {
		var inUse atomic.Pointer[[]corev1.UniqueVolumeName]
		inUse.Store(new([]corev1.UniqueVolumeName))
		own := map[string]string{"own": "1"}
		n, cloud := runReporter(t, Config{Annotations: own, VolumesInUse: func() []corev1.UniqueVolumeName { return *inUse.Load() }}, nil)
		node, _ := cloud.lastNode()
		if node.Annotations[asks] != "true" || node.Annotations["own"] != "1" || len(own) != 1 || len(node.Status.VolumesInUse) > 0 {
			t.Errorf("at first: %q, in use %q; the caller's annotations are %q", node.Annotations, node.Status.VolumesInUse, own)
		}
		for _, want := range [][]corev1.UniqueVolumeName{{"v", "w"}, {"w"}, {}} {
			inUse.Store(&want)
			n.CheckNow()
			if node, _ = cloud.lastNode(); !slices.Equal(node.Status.VolumesInUse, want) {
				t.Errorf("in use %q, want %q", node.Status.VolumesInUse, want)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		_, cloud := runReporter(t, Config{}, nil)
		if node, _ := cloud.lastNode(); node.Annotations[asks] != "" {
			t.Errorf("a node whose volumes nobody attaches asks for it: %q", node.Annotations)
		}
	})
}
