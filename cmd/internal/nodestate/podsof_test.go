package nodestate

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPodsOf: pods are counted by what an operator looks for, and those that are not ready say why.
func TestPodsOf(t *testing.T) {
	ready := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	crashes := corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "good", Ready: true, RestartCount: 1}, {Name: "bad", RestartCount: 4, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}}},
	}, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(time.Unix(1e9, 0))}}}
	ended := corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}}}}}
	var pods []*corev1.Pod
	for i, status := range []corev1.PodStatus{ready, crashes, ended, {Phase: corev1.PodSucceeded}, {Phase: corev1.PodFailed, Reason: "Evicted"}} {
		pods = append(pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), CreationTimestamp: metav1.NewTime(time.Unix(2e9, 0))}, Status: status})
	}
	got := PodsOf(pods)
	if got.Total != 5 || got.Ready != 1 || got.Finished != 2 || len(got.NotReady) != 3 {
		t.Fatalf("%+v", got)
	}
	if bad := got.NotReady[0]; bad.Name != "1" || bad.Reason != "CrashLoopBackOff" || bad.Restarts != 5 || !bad.Since.Equal(time.Unix(1e9, 0)) {
		t.Errorf("the one that is not ready for longest: %+v", bad)
	}
	if got.NotReady[1].Reason != "Error" || got.NotReady[2].Reason != "Evicted" {
		t.Errorf("%+v", got.NotReady)
	}
	var many []*corev1.Pod
	for range 2 * MaxListed {
		many = append(many, pods[1])
	}
	if got := PodsOf(many); got.Total != 2*MaxListed || len(got.NotReady) != MaxListed {
		t.Errorf("%d of %d are listed", len(got.NotReady), got.Total)
	}
}

// TestDiskOf: a disk that cannot be read is no disk.
func TestDiskOf(t *testing.T) {
	if d, ok := DiskOf(t.TempDir()); ok && (d.TotalBytes == 0 || d.FreeBytes > d.TotalBytes) {
		t.Errorf("%+v", d)
	}
	if _, ok := DiskOf("/there/is/no/such/folder"); ok {
		t.Error("a folder that is not there has a disk")
	}
}
