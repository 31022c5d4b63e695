package edged_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
)

func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var sick atomic.Bool
		b.rt.ExecWith(func(_ edged.Container, cmd []string) (edged.ExecResult, error) {
			if cmd[0] == "live" && sick.Load() {
				return edged.ExecResult{ExitCode: 1, Stderr: []byte("sick")}, nil
			}
			return edged.ExecResult{}, nil
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

// TestStartupProbeAlone has a container without a readiness probe be ready once
// it has started, also one that was seen before it ran.
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
