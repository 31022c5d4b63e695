package edged_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/plan"
)

// TestRestartAllContainers exits a container with a code whose rule restarts the whole pod
// (KEP-5532), twice, with a restart of the agent in the middle: init containers run again,
// in the same sandbox, and all restart counts go on. The second time there is a pause.
func TestRestartAllContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		never := corev1.ContainerRestartPolicyNever
		main, init, other := busybox("serve"), busybox("prepare"), busybox("serve")
		init.Name, other.Name = "init", "other"
		main.RestartPolicy = &never
		main.RestartPolicyRules = []corev1.ContainerRestartRule{{
			Action:    corev1.ContainerRestartRuleActionRestartAllContainers,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
		}}
		p := newPod("web", main, other)
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{init}
		b.put(p)
		b.start()
		prepare := func() {
			settle(3 * time.Second)
			b.rt.Exit("init", 0)
			settle(3 * time.Second)
		}
		want := func(count int32) {
			t.Helper()
			b.mu.Lock()
			st := b.status[p.UID]
			b.mu.Unlock()
			for _, name := range []string{"init", "main", "other"} {
				c := plan.FindStatus(&st, name)
				if c == nil || c.RestartCount != count || name != "init" && c.State.Running == nil {
					t.Errorf("%s: %+v, want restart count %d", name, c, count)
				}
			}
			if st.Phase != corev1.PodRunning || b.calls("RunSandbox") > 1 {
				t.Errorf("phase %s, calls %q", st.Phase, b.rt.Calls())
			}
		}
		prepare()
		want(0)
		b.rt.Exit("main", 42)
		prepare()
		want(1)
		b.stop()
		b.start()
		settle(time.Minute)
		want(1)
		b.rt.Exit("main", 42) // the agent has forgotten the first time
		prepare()
		want(2)
		b.rt.Exit("main", 42)
		settle(8 * time.Second)
		if n := len(b.rt.Configs()); n != 0 {
			t.Errorf("%d containers are there in the pause", n)
		}
		prepare()
		want(3)
		restarting := 0
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, st := range b.history[p.UID] {
			if c := conditionIn(st, corev1.AllContainersRestarting); c != nil && c.Status == corev1.ConditionTrue {
				restarting++
			}
			if st.Phase != corev1.PodPending && st.Phase != corev1.PodRunning {
				t.Errorf("phase %s", st.Phase)
			}
		}
		if restarting == 0 {
			t.Error("the condition AllContainersRestarting was never True")
		}
	})
}

func conditionIn(st corev1.PodStatus, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == kind {
			return &st.Conditions[i]
		}
	}
	return nil
}
