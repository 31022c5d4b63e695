package edged_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var sick atomic.Bool
		b.rt.ExecWith(func(_ runtime.Container, cmd []string) (runtime.ExecResult, error) {
			if cmd[0] == "live" && sick.Load() {
				return runtime.ExecResult{ExitCode: 1, Stderr: []byte("sick")}, nil
			}
			return runtime.ExecResult{}, nil
		})
		exec := func(cmd string, delay int32) *corev1.Probe {
			return &corev1.Probe{InitialDelaySeconds: delay, PeriodSeconds: 1, FailureThreshold: 2, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{cmd}}}}
		}
		c := busybox("serve")
		c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = exec("start", 5), exec("live", 0), exec("ready", 0)
		p := newPod("web", c)
		b.start()
		defer func() { b.stop() }()
		b.put(p)
		settle(4 * time.Second)
		if b.isReady(p.UID) || *b.container(p.UID).Started {
			t.Error("ready before the startup probe")
		}
		settle(2 * time.Second)
		if !b.isReady(p.UID) || !*b.container(p.UID).Started {
			t.Error("not ready after the startup probe")
		}
		b.stop()
		b.start()
		settle(time.Second)
		for _, st := range b.history[p.UID][len(b.history[p.UID])-1:] {
			if !st.ContainerStatuses[0].Ready {
				t.Error("an adopted container lost its readiness")
			}
		}
		sick.Store(true)
		settle(2500 * time.Millisecond)
		sick.Store(false)
		settle(8 * time.Second)
		if b.container(p.UID).RestartCount != 1 || b.happened("Unhealthy") == 0 || !b.isReady(p.UID) {
			t.Errorf("%+v, events %q", b.container(p.UID), b.events)
		}
	})
}

// TestStartupProbeAlone: a container without a readiness probe is ready once its startup
// probe has succeeded, also one that was seen before it ran.
func TestStartupProbeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "StartContainer ") {
				time.Sleep(3 * time.Second)
			}
			return nil
		})
		c := busybox("serve")
		c.StartupProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"start"}}}}
		p := newPod("web", c)
		b.start()
		defer func() { b.stop() }()
		b.put(p)
		settle(2 * time.Second)
		if st := b.container(p.UID); st.ContainerID == "" || st.State.Waiting == nil || st.Ready {
			t.Errorf("before it runs: %+v", st)
		}
		settle(10 * time.Second)
		if !b.isReady(p.UID) {
			t.Errorf("%+v", b.container(p.UID))
		}
	})
}

// TestRuntimeAway: containers with exec probes survive a runtime that does not answer for
// longer than their thresholds, for example during its upgrade.
func TestRuntimeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := newPod("web", busybox("serve"))
		c := &p.Spec.Containers[0]
		c.LivenessProbe, c.ReadinessProbe = execProbe("live"), execProbe("ready")
		b.put(p)
		b.start()
		defer func() { b.stop() }()
		settle(5 * time.Second)
		b.mu.Lock()
		n := len(b.history[p.UID])
		b.mu.Unlock()
		b.rt.FailReadsWith(func(string) error { return errors.New("connection refused") })
		settle(time.Minute)
		b.rt.FailReadsWith(nil)
		settle(time.Minute)
		if st := b.container(p.UID); st.RestartCount != 0 || !st.Ready {
			t.Errorf("%+v", st)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, st := range b.history[p.UID][n:] {
			t.Errorf("reported meanwhile: %s", asJSON(t, st))
		}
		if !slices.ContainsFunc(b.events, func(e string) bool { return strings.Contains(e, "says nothing of the container") }) {
			t.Errorf("no event says why nothing is known: %q", b.events)
		}
	})
}

// TestProbesOfEndingPod: while a pod ends, liveness and startup probes stop and readiness
// probes go on.
func TestProbesOfEndingPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var asked [2]atomic.Int64
		b.rt.ExecWith(func(_ runtime.Container, cmd []string) (runtime.ExecResult, error) {
			if cmd[0] == "live" {
				asked[0].Add(1)
			} else {
				asked[1].Add(1)
			}
			return runtime.ExecResult{}, nil
		})
		p := newPod("web", busybox("serve"))
		c := &p.Spec.Containers[0]
		c.LivenessProbe, c.ReadinessProbe = execProbe("live"), execProbe("ready")
		b.rt.Behave("main", runtimetest.Program{StopAfter: time.Minute})
		b.put(p)
		b.start()
		defer func() { b.stop() }()
		settle(5 * time.Second)
		b.del(p, 30)
		settle(time.Second)
		before := [2]int64{asked[0].Load(), asked[1].Load()}
		settle(20 * time.Second)
		if live, ready := asked[0].Load()-before[0], asked[1].Load()-before[1]; before[0] == 0 || live > 0 || ready < 15 {
			t.Errorf("liveness was asked %d times, then %d more; readiness %d more", before[0], live, ready)
		}
		settle(time.Minute)
	})
}

// TestBackOffAfterProbe: the back-off of a container that ran for long starts again at
// its minimum, also when a probe ended the container.
func TestBackOffAfterProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var sick atomic.Bool
		b.rt.ExecWith(func(runtime.Container, []string) (runtime.ExecResult, error) {
			if sick.Load() {
				return runtime.ExecResult{ExitCode: 1}, nil
			}
			return runtime.ExecResult{}, nil
		})
		p := newPod("web", busybox("serve"))
		p.Spec.Containers[0].LivenessProbe = execProbe("live")
		b.rt.Behave("main", runtimetest.Program{RunFor: time.Second, ExitCode: 1})
		b.put(p)
		b.start()
		defer func() { b.stop() }()
		settle(10 * time.Minute) // crashes, ever more slowly
		b.rt.Behave("main", runtimetest.Program{})
		settle(72 * time.Hour)
		sick.Store(true) // one failure
		settle(1500 * time.Millisecond)
		sick.Store(false)
		settle(5 * time.Second)
		b.rt.Exit("main", 1) // and one crash
		settle(15 * time.Second)
		if st := b.container(p.UID); st.State.Running == nil {
			t.Errorf("after 15 s: %s", asJSON(t, st))
		}
	})
}
