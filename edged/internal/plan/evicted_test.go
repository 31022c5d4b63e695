package plan

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

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

// TestGraceLimit has an eviction shorten the grace period of a pod, and not lengthen it.
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
