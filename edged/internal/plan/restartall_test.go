package plan

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
)

// withRule gives a container of the pod a rule: exit code 42 has the action.
func withRule(pod *corev1.Pod, name string, action corev1.ContainerRestartRuleAction) *corev1.Pod {
	never := corev1.ContainerRestartPolicyNever
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				list[i].RestartPolicy = &never
				list[i].RestartPolicyRules = []corev1.ContainerRestartRule{
					{Action: action, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}},
				}
			}
		}
	}
	return pod
}

func TestRestartAll(t *testing.T) {
	const all = corev1.ContainerRestartRuleActionRestartAllContainers
	pod := func(policy corev1.RestartPolicy, rule string, names ...string) *corev1.Pod {
		return withRule(podtest.New(policy, names...), rule, all)
	}
	const never, always = corev1.RestartPolicyNever, corev1.RestartPolicyAlways
	for _, tt := range []struct {
		name string
		pod  *corev1.Pod
		view View
		edit func(*Situation)
		want string
	}{
		{"another code", pod(always, "a", "a", "b"), has("s0", "a exit1 s0", "b running s0"), setUpDone, ""},
		{"matches", pod(never, "a", "a", "b"), has("s0", "a exit42 s0", "b running s0"), setUpDone, "kill b id=b2 grace=0s; remove b id=b2; note restart of all; remove a id=a1"},
		{"matches, init and sidecar", pod(never, "a", "init:i", "side:s", "a", "b"), has("s0", "i exit0 s0", "s running s0", "a exit42 s0", "b exit0 s0"), setUpDone,
			"remove b id=b4; remove i id=i1; kill s id=s2 grace=0s; remove s id=s2; note restart of all; remove a id=a3"},
		{"all of one name", pod(never, "b", "a", "b"), has("s0", "a exit1 s0", "a running s0/1", "b exit42 s0"), setUpDone,
			"kill a id=a2 grace=0s; remove a id=a2; remove a id=a1; note restart of all; remove b id=b3"},
		{"an init container matches", pod(never, "i", "init:i", "a"), has("s0", "i exit42 s0"), setUpDone, "note restart of all; remove i id=i1"},
		{"in the middle, after a crash", pod(never, "a", "init:i", "a", "b"), has("s0", "a exit42 s0"), setUpDone, "note restart of all; remove a id=a1"},
		{"all are gone", pod(never, "a", "init:i", "a", "b"), has("s0"), func(s *Situation) {
			setUpDone(s)
			s.LastStatuses = map[string]*corev1.ContainerStatus{"i": {RestartCount: 2, ContainerID: "x"}}
		}, "start i attempt=3"},
		{"all are gone, pause", pod(never, "a", "a", "b"), has("s0"), func(s *Situation) { setUpDone(s); s.RestartAllUntil = at(9) }, "wait"},
		{"pause, with an ephemeral container", pod(never, "a", "a", "debug:d"), has("s0", "d running s0"), func(s *Situation) { setUpDone(s); s.RestartAllUntil = at(9) }, "wait"},
		{"ephemeral containers stay", pod(never, "a", "a", "debug:d"), has("s0", "a exit42 s0", "d running s0"), setUpDone, "note restart of all; remove a id=a1"},
		{"the newer one runs", pod(always, "a", "a", "b"), has("s0", "a exit42 s0", "a running s0/1", "b running s0"), setUpDone, ""},
		{"of an older sandbox", pod(always, "a", "a"), has("s0!", "a exit42 s0", "s1"), setUpDone, "start a attempt=1"},
		{"failed a moment ago", pod(always, "a", "a"), has("s0", "a exit42 s0"), func(s *Situation) { setUpDone(s); s.Retry = map[string]time.Time{RetryRestartAll: at(5)} }, "wait"},
		{"deleted meanwhile", pod(always, "a", "a"), has("s0", "a exit42 s0"), func(s *Situation) { s.Ending, s.Grace = EndDeleted, time.Second }, "kill pod grace=1s"},
		{"liveness looks at the exit code", pod(always, "a", "a"), has("s0", "a running s0"), func(s *Situation) { setUpDone(s); s.Health["a1"] = Health{Started: true, Failed: "x"} }, "kill a id=a1 grace=30s"},
		{"only itself", withRule(podtest.New(never, "a", "b"), "a", corev1.ContainerRestartRuleActionRestart), has("s0", "a exit42 s0", "b running s0"), setUpDone, "start a attempt=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Situation{Pod: tt.pod, Now: epoch, View: tt.view, Health: map[string]Health{}}
			for _, c := range tt.view.Containers {
				s.Health[c.ID] = Health{Started: true}
			}
			tt.edit(&s)
			d := Decide(s)
			var got []string
			for _, a := range d.Actions {
				got = append(got, a.String())
			}
			if len(got) == 0 && !d.Wake.IsZero() {
				got = []string{"wait"}
			}
			if text := strings.Join(got, "; "); text != tt.want || d.Finished {
				t.Errorf("%s, finished %t; want %s", text, d.Finished, tt.want)
			}
		})
	}
}

// TestRestartAllStatus follows the status of a pod through a restart of all containers.
func TestRestartAllStatus(t *testing.T) {
	pod := withRule(podtest.New(corev1.RestartPolicyNever, "a", "b"), "a", corev1.ContainerRestartRuleActionRestartAllContainers)
	var last *corev1.PodStatus
	for _, step := range []struct {
		name           string
		view           View
		condition      corev1.ConditionStatus
		a, b           string // state, or reason
		countA, countB int32
		lastB          string // reason of the termination before
	}{
		{"run", has("s0", "a running s0", "b running s0"), "False", "running", "running", 0, 0, ""},
		{"a exits", has("s0", "a exit42 s0", "b running s0"), "True", "Error", "running", 0, 0, ""},
		{"b is removed", has("s0", "a exit42 s0"), "True", "Error", "RestartingAllContainers", 0, 0, "RestartingAllContainers"},
		{"all are removed", has("s0"), "False", "RestartingAllContainers", "RestartingAllContainers", 0, 0, "RestartingAllContainers"},
		{"and again, after a restart of the agent", has("s0"), "False", "RestartingAllContainers", "RestartingAllContainers", 0, 0, "RestartingAllContainers"},
		{"they run", has("s0", "a running s0/1", "b running s0/1"), "False", "running", "running", 1, 1, "RestartingAllContainers"},
	} {
		st := PodStatus(Facts{Pod: pod, Last: last, Now: epoch, View: step.view, Runtime: "r", Waiting: map[string]Waiting{}, Readiness: map[string]Readiness{}, BackOffs: map[string]BackOff{}})
		show := func(name string) (string, int32, string) {
			c := FindStatus(&st, name)
			before := ""
			if e := c.LastTerminationState.Terminated; e != nil {
				before = e.Reason
			}
			switch {
			case c.State.Running != nil:
				return "running", c.RestartCount, before
			case c.State.Waiting != nil:
				return c.State.Waiting.Reason, c.RestartCount, before
			}
			return c.State.Terminated.Reason, c.RestartCount, before
		}
		condition := corev1.ConditionStatus("")
		for _, c := range st.Conditions {
			if c.Type == corev1.AllContainersRestarting {
				condition = c.Status
			}
		}
		a, countA, _ := show("a")
		b, countB, lastB := show("b")
		if st.Phase != corev1.PodRunning || condition != step.condition || a != step.a || b != step.b || countA != step.countA || countB != step.countB || lastB != step.lastB {
			t.Errorf("%s: phase %s, condition %s, a %s %d, b %s %d after %q; want %+v", step.name, st.Phase, condition, a, countA, b, countB, lastB, step)
		}
		last = &st
	}
}

func TestRestartAllBackOff(t *testing.T) {
	delay := time.Duration(0)
	for i, tt := range []struct{ ran, want time.Duration }{
		{-1, 0}, {time.Second, 10 * time.Second}, {time.Minute, 20 * time.Second}, {0, 40 * time.Second}, {0, 80 * time.Second}, {0, 160 * time.Second},
		{0, 300 * time.Second}, {0, 300 * time.Second}, {11 * time.Minute, 0}, {0, 10 * time.Second},
	} {
		if delay = RestartAllBackOff(delay, tt.ran); delay != tt.want {
			t.Errorf("%d: %s, want %s", i, delay, tt.want)
		}
	}
}

// TestNoRule leaves the condition out for pods without such a rule.
func TestNoRule(t *testing.T) {
	st := PodStatus(Facts{Pod: podtest.New(corev1.RestartPolicyAlways, "a"), Now: epoch, View: View{Containers: []runtime.Container{}}})
	for _, c := range st.Conditions {
		if c.Type == corev1.AllContainersRestarting {
			t.Errorf("%+v", c)
		}
	}
}
