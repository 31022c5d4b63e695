package plan

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
)

// TestDisruption follows the condition DisruptionTarget of a pod that is evicted: it is
// there from the beginning, stays when the pod has ended and after a restart of the agent,
// and no other end of a pod has it.
func TestDisruption(t *testing.T) {
	evicted := &Rejection{Reason: "Evicted", Message: "low", Disrupts: true}
	byNode := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet, Message: "low"}
	byOthers := byNode
	byOthers.Reason = "EvictionByEvictionAPI"
	failed := func(c ...corev1.PodCondition) *corev1.PodStatus {
		return &corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low", Conditions: c}
	}
	for name, tt := range map[string]struct {
		facts Facts
		phase corev1.PodPhase
		want  bool
	}{
		"while it is stopped":            {Facts{Rejected: evicted, Alive: true, Last: &corev1.PodStatus{Phase: corev1.PodRunning}}, corev1.PodRunning, true},
		"when it has ended":              {Facts{Rejected: evicted}, corev1.PodFailed, true},
		"after a restart":                {Facts{Last: failed(byNode)}, corev1.PodFailed, true},
		"refused under pressure":         {Facts{Rejected: &Rejection{Reason: "Evicted", Message: "low"}}, corev1.PodFailed, false},
		"it has succeeded before":        {Facts{Rejected: evicted, Last: &corev1.PodStatus{Phase: corev1.PodSucceeded}}, corev1.PodSucceeded, false},
		"others disrupt it":              {Facts{Last: failed(byOthers)}, corev1.PodFailed, false},
		"forgotten before it was killed": {Facts{Alive: true, Last: &corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{byNode}}}, corev1.PodRunning, false},
	} {
		t.Run(name, func(t *testing.T) {
			tt.facts.Pod, tt.facts.Now = podtest.New(corev1.RestartPolicyAlways, "main"), time.Unix(1000, 0)
			if tt.facts.Alive {
				tt.facts.View = NewView([]runtime.Sandbox{{ID: "s", Ready: true}}, []runtime.Container{{ID: "c", Name: "main", SandboxID: "s", State: runtime.ContainerRunning}})
			}
			st := PodStatus(tt.facts)
			i := slices.IndexFunc(st.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
			if st.Phase != tt.phase || (i >= 0) != tt.want {
				t.Fatalf("%s, %+v", st.Phase, st.Conditions)
			}
			if i >= 0 && (st.Conditions[i].Reason != "TerminationByKubelet" || st.Conditions[i].Message != "low" || st.Conditions[i].Status != corev1.ConditionTrue) {
				t.Errorf("%+v", st.Conditions[i])
			}
		})
	}
}

// TestEvictedIsRemoved: an evicted pod's volumes are removed once its status is durable,
// and then its containers; those of any other pod that has ended stay.
func TestEvictedIsRemoved(t *testing.T) {
	p := podtest.New(corev1.RestartPolicyAlways, "main")
	s := Situation{Pod: p, Ending: EndFinished, Evicted: true, Stopped: map[string]bool{"s": true}, View: NewView([]runtime.Sandbox{{ID: "s"}}, []runtime.Container{{ID: "c", Name: "main", SandboxID: "s", State: runtime.ContainerExited}})}
	kinds := func() (out []ActionKind) {
		d := Decide(s)
		if !d.Finished || d.Done {
			t.Errorf("%+v", d)
		}
		for _, a := range d.Actions {
			out = append(out, a.Kind)
		}
		return out
	}
	if got := kinds(); !slices.Equal(got, []ActionKind{ActTearDown, ActRemove}) {
		t.Errorf("%v", got)
	}
	s.TornDown = true
	if got := kinds(); !slices.Equal(got, []ActionKind{ActRemove}) {
		t.Errorf("%v", got)
	}
	s.Evicted = false
	if got := kinds(); len(got) > 0 {
		t.Errorf("not evicted: %v", got)
	}
}

// TestRemovedContainerKeepsStatus: a container of a pod that has ended is removed, and
// its status stays as it was reported.
func TestRemovedContainerKeepsStatus(t *testing.T) {
	user := &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: 7}}
	was := corev1.ContainerStatus{
		Name: "main", Image: "docker.io/library/i:latest", ImageID: "sha256:i", ContainerID: "x://c", RestartCount: 3, Started: new(bool), User: user,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, ContainerID: "x://c"}},
	}
	f := Facts{Pod: podtest.New(corev1.RestartPolicyAlways, "main"), Last: &corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{was}}, Final: true}
	if got := PodStatus(f).ContainerStatuses[0]; !equality.Semantic.DeepEqual(got, was) {
		t.Errorf("%+v", got)
	}
	f.Last.Phase = corev1.PodRunning // it is not over: the container is made again
	if got := PodStatus(f).ContainerStatuses[0]; got.User != nil {
		t.Errorf("%+v", got)
	}
}

// TestGraceLimit: an eviction may shorten the grace period of a pod, and does not
// lengthen it.
func TestGraceLimit(t *testing.T) {
	for _, tt := range []struct{ own, limit, want time.Duration }{{30, 1, 1}, {1, 30, 1}, {30, 0, 0}} {
		p := podtest.New(corev1.RestartPolicyAlways, "main")
		seconds := int64(tt.own)
		p.Spec.TerminationGracePeriodSeconds = &seconds
		limit := tt.limit * time.Second
		d := Decide(Situation{
			Pod: p, Ending: EndFinished, GraceLimit: &limit,
			View: NewView([]runtime.Sandbox{{ID: "s", Ready: true}}, []runtime.Container{{ID: "c", Name: "main", SandboxID: "s", State: runtime.ContainerRunning}}),
		})
		if len(d.Actions) != 1 || d.Actions[0].Kind != ActKillPod || d.Actions[0].Grace != tt.want*time.Second {
			t.Errorf("own %ds, limit %s: %v", seconds, limit, d.Actions)
		}
	}
}
