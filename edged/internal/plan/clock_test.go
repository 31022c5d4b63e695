package plan

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// TestClockSetBack plans for a pod on a machine whose clock says 1970 after a start: new
// containers count as newer than earlier ones, and no back-off waits until the year in
// which a container exited.
func TestClockSetBack(t *testing.T) {
	then, now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), time.Unix(100, 0)
	pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "c", Image: "x"}}}}
	old := runtime.Sandbox{ID: "old", Created: then}
	fresh := runtime.Sandbox{ID: "fresh", Attempt: 1, Created: now, Ready: true, IPs: []string{"10.0.0.1"}}
	crashed := runtime.Container{
		ID: "crashed", Name: "c", SandboxID: "fresh", Attempt: 3, State: runtime.ContainerExited, ExitCode: 1, Created: then, Started: then, Finished: then.Add(time.Second),
		Annotations: map[string]string{runtime.AnnotationBackOff: "5m0s"},
	}
	s := Situation{Pod: pod, Now: now, SetUp: true, View: NewView([]runtime.Sandbox{old, fresh}, []runtime.Container{crashed})}
	d := Decide(s)
	if len(d.Actions) != 1 || d.Actions[0].Kind != ActStart || d.Actions[0].Attempt != 4 {
		t.Errorf("after a crash in the future: %v, wake %s", d.Actions, d.Wake)
	}
	runs := crashed
	runs.ID, runs.Attempt, runs.State, runs.Created, runs.Finished = "runs", 4, runtime.ContainerRunning, now, time.Time{}
	runs.Annotations = nil
	s.View = NewView([]runtime.Sandbox{old, fresh}, []runtime.Container{crashed, runs})
	for _, a := range Decide(s).Actions {
		if a.Kind != ActStopSandbox && a.Kind != ActRemoveSandbox || a.ID != "old" {
			t.Errorf("a pod that runs well gets %s", a)
		}
	}
	// The runtime restarted in 1970 and found the container of 2026 dead.
	dead := crashed
	dead.SandboxID, dead.Finished = "old", now
	if v := NewView([]runtime.Sandbox{old}, []runtime.Container{dead}); !v.lost(&dead) {
		t.Error("a container that went with its sandbox counts as crashed")
	}
}
