package plan

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAfterBoot: what ran is not ready any more, what has ended stays as it is, and the
// status that was given is not touched.
func TestAfterBoot(t *testing.T) {
	yes := true
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	last := &corev1.PodStatus{
		Phase:                 corev1.PodRunning,
		InitContainerStatuses: []corev1.ContainerStatus{{Name: "init", Ready: true, State: ended}, {Name: "side", Ready: true, Started: &yes, State: running}},
		ContainerStatuses:     []corev1.ContainerStatus{{Name: "a", Ready: true, Started: &yes, State: running, RestartCount: 3}, {Name: "b", State: ended}},
	}
	for _, c := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		last.Conditions = append(last.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at(-100))})
	}
	given := last.DeepCopy()
	st, changed := AfterBoot(last, at(0))
	if !changed || !equality.Semantic.DeepEqual(last, given) {
		t.Fatalf("changed %t; given %+v, now %+v", changed, given, last)
	}
	if i, c := st.InitContainerStatuses, st.ContainerStatuses; !i[0].Ready || i[1].Ready || *i[1].Started || c[0].Ready || *c[0].Started || c[0].RestartCount != 3 {
		t.Errorf("%+v %+v", i, c)
	}
	for _, c := range st.Conditions {
		kept := c.Type == corev1.PodInitialized || c.Type == corev1.PodScheduled
		if (c.Status == corev1.ConditionTrue) != kept || c.LastTransitionTime.Time.Equal(at(-100)) != kept {
			t.Errorf("%+v", c)
		}
		if c.Type == corev1.PodReady && (c.Reason != "ContainersNotReady" || c.Message != "containers with unready status: [a b]") {
			t.Errorf("%+v", c)
		}
	}
	if _, again := AfterBoot(&st, at(9)); again {
		t.Error("a second boot changes what is not ready already")
	}
	for _, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed} {
		over := last.DeepCopy()
		over.Phase = phase
		if st, changed := AfterBoot(over, at(0)); changed || !equality.Semantic.DeepEqual(&st, over) {
			t.Errorf("%s: %+v", phase, st)
		}
	}
	if _, changed := AfterBoot(&corev1.PodStatus{Phase: corev1.PodPending}, at(0)); changed {
		t.Error("a pod that never ran changes")
	}
}
