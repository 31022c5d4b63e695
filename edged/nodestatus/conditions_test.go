package nodestatus

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestFurtherConditions reports what Config.Conditions gives, with the time of its transition,
// and leaves it out when it is gone.
func TestFurtherConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[[]corev1.NodeCondition]
		set := func(all ...corev1.NodeCondition) { now.Store(&all) }
		set(corev1.NodeCondition{Type: "Broken", Status: corev1.ConditionFalse, Reason: "Fine"})
		_, cloud := runReporter(t, Config{Conditions: func() []corev1.NodeCondition { return slices.Clone(*now.Load()) }}, func(*Reporter) {})
		find := func() *corev1.NodeCondition {
			node, _ := cloud.lastNode()
			for i, c := range node.Status.Conditions {
				if c.Type == "Broken" {
					return &node.Status.Conditions[i]
				}
			}
			return nil
		}
		synctest.Wait()
		first := find()
		if first == nil || first.Status != corev1.ConditionFalse || first.LastTransitionTime.IsZero() {
			t.Fatalf("%+v", first)
		}
		set(corev1.NodeCondition{Type: "Broken", Status: corev1.ConditionTrue, Reason: "Cable"})
		time.Sleep(time.Minute)
		second := find()
		if second == nil || second.Status != corev1.ConditionTrue || second.Reason != "Cable" || !second.LastTransitionTime.After(first.LastTransitionTime.Time) {
			t.Errorf("%+v after %+v", second, first)
		}
		set()
		time.Sleep(time.Minute)
		if c := find(); c != nil {
			t.Errorf("it stays: %+v", c)
		}
	})
}
