package edge_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// TestRestore: cloudcore restores the Ready condition that the node lifecycle controller
// of Kubernetes set to False on a node's pods, not before that controller sees the node
// as ready, and only for pods that the node itself reported as ready.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := func(name, node string, whole, containers corev1.ConditionStatus) *corev1.Pod {
			p := pod(name, node)
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: whole}, {Type: corev1.ContainersReady, Status: containers}}
			return p
		}
		gated := ready("gated", "n", corev1.ConditionFalse, corev1.ConditionTrue)
		gated.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/gate"}}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
		client := controllertest.NewClientset(node, gated, ready("taken", "n", corev1.ConditionFalse, corev1.ConditionTrue),
			ready("unready", "n", corev1.ConditionFalse, corev1.ConditionFalse), ready("foreign", "m", corev1.ConditionFalse, corev1.ConditionTrue))
		c := start(t, client)
		is := func(name string) corev1.ConditionStatus {
			p, err := client.CoreV1().Pods("a").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return p.Status.Conditions[0].Status
		}
		if left, err := c.RestoreReadiness(t.Context(), "n", time.Time{}); err != nil || !left || is("taken") != corev1.ConditionFalse {
			t.Errorf("while the node is doubted: %s, %v", is("taken"), err)
		}
		node.Status.Conditions[0].Status = corev1.ConditionTrue
		if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left, err := c.RestoreReadiness(t.Context(), "n", time.Now()); err != nil || !left || is("taken") != corev1.ConditionFalse {
			t.Errorf("a pod that was set to not ready before: %s, left %t, %v", is("taken"), left, err)
		}
		if left, err := c.RestoreReadiness(t.Context(), "n", time.Time{}); err != nil || left {
			t.Fatalf("left %t, %v", left, err)
		}
		for name, want := range map[string]corev1.ConditionStatus{
			"taken": corev1.ConditionTrue, "unready": corev1.ConditionFalse, "gated": corev1.ConditionFalse, "foreign": corev1.ConditionFalse,
		} {
			if got := is(name); got != want {
				t.Errorf("pod %s is Ready=%s, want %s", name, got, want)
			}
		}
	})
}
