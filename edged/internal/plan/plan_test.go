package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// has makes what a runtime has of a pod. Sandboxes are "s0" or, stopped, "s0!";
// containers are "name state[code] sandbox[/attempt]", made one second apart.
func has(things ...string) View {
	var sandboxes []runtime.Sandbox
	var containers []runtime.Container
	for i, t := range things {
		if id, stopped := strings.CutSuffix(t, "!"); !strings.Contains(t, " ") {
			var attempt uint32
			fmt.Sscanf(id, "s%d", &attempt)
			sb := runtime.Sandbox{ID: id, Attempt: attempt, Ready: !stopped, Created: at(i - 100)}
			if sb.Ready {
				sb.IPs = []string{"10.0.0.1"}
			}
			sandboxes = append(sandboxes, sb)
			continue
		}
		var name, state, sandbox string
		fmt.Sscan(t, &name, &state, &sandbox)
		c := runtime.Container{ID: fmt.Sprintf("%s%d", name, i), Name: name, Created: at(i - 100), Started: at(i - 100), Annotations: map[string]string{}}
		c.SandboxID, sandbox, _ = strings.Cut(sandbox, "/")
		fmt.Sscan(sandbox, &c.Attempt)
		switch {
		case state == "created":
			c.State = runtime.ContainerCreated
			c.Annotations[runtime.AnnotationHash] = podspec.ContainerHash(&corev1.Container{Name: name, Image: "i"})
		case state == "running":
			c.State = runtime.ContainerRunning
		default:
			c.State, c.Finished = runtime.ContainerExited, at(i-99)
			fmt.Sscanf(state, "exit%d", &c.ExitCode)
		}
		containers = append(containers, c)
	}
	return NewView(sandboxes, containers)
}

func TestPlan(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	for _, tt := range []struct {
		name string
		pod  *corev1.Pod
		view View
		edit func(*Situation)
		want string // actions, "; " between; then flags
	}{
		{"new", podtest.New(always, "a", "b"), has(), nil, "set up; create sandbox attempt=0; start a attempt=0; start b attempt=0"},
		{"new with init", podtest.New(always, "init:i", "a"), has(), nil, "set up; create sandbox attempt=0; start i attempt=0"},
		{"sandbox only, after a crash", podtest.New(always, "a"), has("s0"), nil, "set up; start a attempt=0"},
		{"created only, after a crash", podtest.New(always, "a"), has("s0", "a created s0"), nil, "set up; start created a id=a1"},
		{"runs", podtest.New(always, "a"), has("s0", "a running s0"), setUpDone, ""},
		{"adopted", podtest.New(always, "a"), has("s0", "a running s0"), nil, "set up"},
		{"content changed", podtest.New(always, "a"), has("s0", "a running s0"), func(s *Situation) { setUpDone(s); s.Stale = true }, "refresh volumes"},
		{"init runs", podtest.New(always, "init:i", "a"), has("s0", "i running s0"), setUpDone, ""},
		{"init done", podtest.New(always, "init:i", "a"), has("s0", "i exit0 s0"), setUpDone, "start a attempt=0"},
		{"second init", podtest.New(always, "init:i", "init:j", "a"), has("s0", "i exit0 s0"), setUpDone, "start j attempt=0"},
		{"first init collected", podtest.New(always, "init:i", "init:j", "a"), has("s0", "j exit0 s0"), setUpDone, "start a attempt=0"},
		{"init failed", podtest.New(always, "init:i", "a"), has("s0", "i exit1 s0"), setUpDone, "start i attempt=1"},
		{"init failed for good", podtest.New(never, "init:i", "a"), has("s0", "i exit1 s0"), setUpDone, "kill pod grace=30s finished"},
		{"init of an older sandbox", podtest.New(always, "init:i", "a"), has("s0!", "i exit0 s0", "a exit137 s0", "s1"), setUpDone, "start i attempt=1"},
		{"sidecar starts, others wait", podtest.New(always, "side:s", "a"), has("s0", "s running s0"), func(s *Situation) { setUpDone(s); s.Health["s1"] = Health{} }, ""},
		{"sidecar started", podtest.New(always, "side:s", "a"), has("s0", "s running s0"), setUpDone, "start a attempt=0"},
		{"sidecar fell", podtest.New(always, "side:s", "a"), has("s0", "s exit1 s0", "a running s0"), setUpDone, "start s attempt=1"},
		{"exit, always", podtest.New(always, "a"), has("s0", "a exit0 s0"), setUpDone, "start a attempt=1"},
		{"exit, one is through", podtest.New(onFailure, "a", "b"), has("s0", "a exit0 s0", "b running s0"), setUpDone, ""},
		{"debug begins", podtest.New(never, "a", "debug:d"), has("s0", "a running s0"), setUpDone, "start d attempt=0"},
		{"debug begins before the pod does", podtest.New(always, "init:i", "a", "debug:d"), has("s0", "i running s0"), setUpDone, "start d attempt=0"},
		{"debug created", podtest.New(always, "a", "debug:d"), has("s0", "a running s0", "d created s0"), setUpDone, "start created d id=d2"},
		{"debug runs", podtest.New(always, "a", "debug:d"), has("s0", "a running s0", "d running s0"), setUpDone, ""},
		{"debug is over", podtest.New(always, "a", "debug:d"), has("s0", "a running s0", "d exit1 s0"), setUpDone, ""},
		{"debug is over and forgotten", podtest.New(always, "a", "debug:d"), has("s0", "a running s0"), func(s *Situation) {
			setUpDone(s)
			s.LastStatuses = map[string]*corev1.ContainerStatus{"d": {State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
		}, ""},
		{"debug keeps no pod", podtest.New(never, "a", "debug:d"), has("s0", "a exit0 s0", "d running s0"), setUpDone, "kill pod grace=30s finished"},
		{"all are through", podtest.New(onFailure, "a"), has("s0", "a exit0 s0"), setUpDone, "kill pod grace=30s finished"},
		{"through, sidecar still runs", podtest.New(never, "side:s", "a"), has("s0", "s running s0", "a exit0 s0"), setUpDone, "kill pod grace=30s finished"},
		{"finished", podtest.New(never, "a"), has("s0!", "a exit0 s0"), stopped, "tear down finished"},
		{"finished, its sandbox died", podtest.New(never, "a"), has("s0!", "a exit0 s0"), setUpDone, "stop sandbox id=s0 finished"},
		{"finished and tidy", podtest.New(never, "a"), has("s0!", "a exit1 s0"), func(s *Situation) { stopped(s); s.TornDown = true }, "finished"},
		{"failed, never", podtest.New(never, "a"), has("s0", "a exit1 s0"), setUpDone, "kill pod grace=30s finished"},
		{"back-off", podtest.New(always, "a"), backedOff(has("s0", "a exit1 s0/3"), "200s"), setUpDone, "wait a"},
		{"back-off over", podtest.New(always, "a"), backedOff(has("s0", "a exit1 s0/3"), "20s"), setUpDone, "start a attempt=4"},
		{"sandbox died", podtest.New(always, "a"), has("s0!", "a running s0"), setUpDone, "kill pod grace=30s"},
		{"sandbox died, all stopped", podtest.New(always, "a"), has("s4!", "a exit137 s4/2"), setUpDone, "stop sandbox id=s4; set up; create sandbox attempt=5; start a attempt=3"},
		{"sandbox died, another before it", podtest.New(always, "a"), has("s3!", "s4!", "a exit137 s4/2"), setUpDone, "stop sandbox id=s4; stop sandbox id=s3; set up; create sandbox attempt=5; start a attempt=3"},
		{"sandbox died and was stopped", podtest.New(always, "a"), has("s4!", "a exit137 s4/2"), stopped, "set up; create sandbox attempt=5; start a attempt=3"},
		{"sandbox died, and its stop failed", podtest.New(always, "a"), has("s4!", "a exit137 s4/2"), func(s *Situation) { s.Retry = map[string]time.Time{RetrySandbox: at(5)} }, "wait"},
		{"sandbox died, never", podtest.New(never, "a", "b"), has("s0!", "a exit137 s0"), stopped, "tear down finished"},
		{"sandbox died before a start", podtest.New(always, "a"), has("s0!", "a created s0/2"), setUpDone, "stop sandbox id=s0; set up; create sandbox attempt=1; remove a id=a1; start a attempt=2"},
		{"created in an older sandbox", podtest.New(always, "a"), has("s0!", "a created s0", "s1"), setUpDone, "remove a id=a1; start a attempt=0"},
		{"reboot during a back-off's window", podtest.New(always, "a"), backedOff(has("s0!", "a exit255 s0/3"), "200s"), func(s *Situation) { stopped(s); s.View.Sandboxes[0].Created = at(-400) }, "set up; create sandbox attempt=1; start a attempt=4"},
		{"sandbox died young", podtest.New(always, "a"), backedOff(has("s0!", "a exit255 s0/3"), "200s"), stopped, "set up; create sandbox attempt=1"},
		{"two sandboxes", podtest.New(always, "a"), has("s0", "s1"), setUpDone, "kill pod grace=30s"},
		{"image changed", podtest.New(always, "a"), hashed(has("s0", "a running s0")), setUpDone, "kill a id=a1 grace=30s; start a attempt=1"},
		{"liveness", podtest.New(always, "a"), has("s0", "a running s0"), func(s *Situation) {
			setUpDone(s)
			s.Health["a1"] = Health{Started: true, Failed: "x", Grace: time.Second}
		}, "kill a id=a1 grace=1s; start a attempt=1"},
		{"liveness, never", podtest.New(never, "a"), has("s0", "a running s0"), func(s *Situation) { setUpDone(s); s.Health["a1"] = Health{Started: true, Failed: "x"} }, "kill a id=a1 grace=30s"},
		{"failed a moment ago", podtest.New(always, "a"), has("s0"), func(s *Situation) { setUpDone(s); s.Retry = map[string]time.Time{"a": at(5)} }, "wait"},
		{"volumes failed a moment ago", podtest.New(always, "a"), has(), func(s *Situation) { s.Retry = map[string]time.Time{RetrySandbox: at(5)} }, "wait"},
		{"prune", podtest.New(always, "a"), has("s0!", "a exit1 s0", "s1", "a exit1 s1/1", "a exit1 s1/2", "a running s1/3"), setUpDone, "remove a id=a3; remove a id=a1; stop sandbox id=s0; remove sandbox id=s0"},
		{"prune, it was stopped", podtest.New(always, "a"), has("s0!", "a exit1 s0", "s1", "a exit1 s1/1", "a exit1 s1/2", "a running s1/3"), stopped, "remove a id=a3; remove a id=a1; remove sandbox id=s0"},
		{"an old sandbox that stays for a container", podtest.New(always, "a"), has("s0!", "a exit1 s0", "s1", "a running s1/1"), setUpDone, "stop sandbox id=s0"},
		{"prune failed a moment ago", podtest.New(always, "a"), has("s0!", "s1", "a running s1"), func(s *Situation) { setUpDone(s); s.Retry = map[string]time.Time{RetryPrune: at(5)} }, "wait"},
		{"prune failed, then an exit", podtest.New(always, "a"), has("s0!", "s1", "a exit1 s1"), func(s *Situation) { setUpDone(s); s.Retry = map[string]time.Time{RetryPrune: at(5)} }, "start a attempt=1"},
		{"deleted", podtest.New(always, "a"), has("s0", "a running s0"), ends(EndDeleted), "kill pod grace=7s"},
		{"deleted, its sandbox died", podtest.New(always, "a"), has("s0!", "a exit0 s0"), ends(EndDeleted), "stop sandbox id=s0"},
		{"deleted, stopped", podtest.New(always, "a"), has("s0!", "a exit0 s0"), func(s *Situation) { stopped(s); ends(EndDeleted)(s) }, "report final"},
		{"deleted, told", podtest.New(always, "a"), has("s0!", "a exit0 s0"), func(s *Situation) { stopped(s); ends(EndDeleted)(s); s.FinalReported = true }, "remove sandbox id=s0"},
		{"deleted, removed", podtest.New(always, "a"), has(), func(s *Situation) { ends(EndDeleted)(s); s.FinalReported = true }, "remove logs; tear down"},
		{"deleted, torn down", podtest.New(always, "a"), has(), func(s *Situation) { ends(EndDeleted)(s); s.FinalReported, s.LogsRemoved, s.TornDown = true, true, true }, "report gone"},
		{"deleted, finished before", podtest.New(never, "a"), has(), func(s *Situation) { ends(EndDeleted)(s); s.FinalReported, s.TornDown = true, true }, "remove logs"},
		{"deleted, all told", podtest.New(always, "a"), has(), func(s *Situation) {
			ends(EndDeleted)(s)
			s.FinalReported, s.LogsRemoved, s.TornDown, s.GoneReported = true, true, true, true
		}, "done"},
		{"gone", podtest.New(always, "a"), has("s0!", "a exit0 s0", "b exit0 sX"), func(s *Situation) { stopped(s); ends(EndGone)(s) }, "remove sandbox id=s0; remove b id=b2"},
		{"gone, tidy", podtest.New(always), has(), func(s *Situation) { ends(EndGone)(s); s.LogsRemoved, s.TornDown = true, true }, "done"},
		{"rejected", podtest.New(always, "a"), has(), ends(EndFinished), "tear down finished"},
	} {
		s := Situation{Pod: tt.pod, Now: at(0), View: tt.view, Health: map[string]Health{}}
		for _, c := range tt.view.Containers {
			s.Health[c.ID] = Health{Started: true}
		}
		if tt.edit != nil {
			tt.edit(&s)
		}
		d := Decide(s)
		var got []string
		for _, a := range d.Actions {
			got = append(got, a.String())
		}
		text := strings.Join(got, "; ")
		if len(d.Actions) == 0 && !d.Wake.IsZero() {
			text = "wait"
			for name := range d.BackOffs {
				text += " " + name
			}
		}
		if d.Finished {
			text += " finished"
		}
		if d.Done {
			text += " done"
		}
		if text = strings.TrimSpace(text); text != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, text, tt.want)
		}
	}
}

func setUpDone(s *Situation) { s.SetUp = true }

// stopped says that all sandboxes that are not ready were stopped.
func stopped(s *Situation) {
	s.SetUp, s.Stopped = true, make(map[string]bool)
	for _, sb := range s.View.Sandboxes {
		s.Stopped[sb.ID] = !sb.Ready
	}
}

func ends(e Ending) func(*Situation) {
	return func(s *Situation) { s.Ending, s.Grace = e, 7*time.Second }
}

func backedOff(v View, d string) View {
	v.Containers[0].Annotations[runtime.AnnotationBackOff] = d
	return v
}

func hashed(v View) View {
	v.Containers[0].Annotations[runtime.AnnotationHash] = "other"
	return v
}

func TestBackOffSeries(t *testing.T) {
	var got []time.Duration
	var c *runtime.Container
	for range 8 {
		d := nextBackOff(c, 0)
		got = append(got, d)
		c = &runtime.Container{Created: at(0), Finished: at(1), Annotations: map[string]string{runtime.AnnotationBackOff: d.String()}}
	}
	if want := "[0s 10s 20s 40s 1m20s 2m40s 5m0s 5m0s]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	c.Finished = at(601) // ran for more than ten minutes
	if backOffAfter(c, 0) != 0 || nextBackOff(c, 0) != InitialBackOff {
		t.Error("a long run does not end the series")
	}
}

// TestBackOffOfLost: a container was lost with its sandbox. Its successor waits no longer
// than the lost one had to.
func TestBackOffOfLost(t *testing.T) {
	for _, tt := range []struct {
		view  View
		since int // when the sandbox was made
		want  time.Duration
	}{
		{backedOff(has("s0!", "a exit255 s0"), "20s"), -400, 20 * time.Second},
		{has("s0!", "a exit255 s0"), -400, 0},
		{has("s0!", "a created s0"), -100, 0},
		{backedOff(has("s0!", "a exit255 s0"), "20s"), -100, 40 * time.Second}, // its sandbox was young
		{backedOff(has("s0", "a exit255 s0"), "20s"), -400, 40 * time.Second},  // its sandbox runs
	} {
		tt.view.Sandboxes[0].Created = at(tt.since)
		if got := SuccessorBackOff(tt.view, &tt.view.Containers[0], 0); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.view, got, tt.want)
		}
	}
}

func TestPhase(t *testing.T) {
	state := func(text string) corev1.ContainerStatus {
		s := corev1.ContainerStatus{Name: "a", Started: new(bool)}
		switch {
		case text == "run":
			s.State.Running = &corev1.ContainerStateRunning{}
			*s.Started = true
		case text == "back-off":
			s.State.Waiting, s.LastTerminationState.Terminated = &corev1.ContainerStateWaiting{}, &corev1.ContainerStateTerminated{ExitCode: 1}
		case strings.HasPrefix(text, "exit"):
			s.State.Terminated = &corev1.ContainerStateTerminated{}
			fmt.Sscanf(text, "exit%d", &s.State.Terminated.ExitCode)
		default:
			s.State.Waiting = &corev1.ContainerStateWaiting{}
		}
		return s
	}
	for _, tt := range []struct {
		policy corev1.RestartPolicy
		states string
		final  bool
		want   corev1.PodPhase
	}{
		{"Always", "wait", false, "Pending"}, {"Always", "run", false, "Running"}, {"Always", "run wait", false, "Pending"},
		{"Always", "exit0", false, "Running"}, {"Always", "back-off", false, "Running"}, {"Always", "exit0", true, "Succeeded"},
		{"Always", "exit137", true, "Failed"}, {"OnFailure", "exit0", false, "Succeeded"}, {"OnFailure", "exit1", false, "Running"},
		{"Never", "exit1 exit0", false, "Failed"}, {"Never", "exit0 exit0", false, "Succeeded"}, {"Never", "exit0 run", false, "Running"},
		{"Always", "wait", true, "Failed"},
	} {
		pod, st := podtest.New(tt.policy), corev1.PodStatus{}
		for i, text := range strings.Fields(tt.states) {
			s := state(text)
			s.Name = fmt.Sprint("c", i)
			st.ContainerStatuses = append(st.ContainerStatuses, s)
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: s.Name})
		}
		if got := phase(pod, &st, tt.final); got != tt.want {
			t.Errorf("%s %s final=%t: %s, want %s", tt.policy, tt.states, tt.final, got, tt.want)
		}
	}
}
