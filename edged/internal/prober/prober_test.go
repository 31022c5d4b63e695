package prober_test

import (
	"context"
	"log/slog"
	goruntime "runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/internal/prober"
	"github.com/edgekit/edgekit/edged/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// executor answers each probe with its exit code.
type executor struct{ code atomic.Int32 }

func (e *executor) ExecSync(context.Context, string, []string, time.Duration) (runtime.ExecResult, error) {
	return runtime.ExecResult{ExitCode: e.code.Load()}, nil
}

// TestFollow: the probes of a container begin when it runs, say what they find out, and end with
// it. While the pod ends, no probe has it restarted.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exec := new(executor)
		var changes atomic.Int32
		p := prober.New(prober.Config{
			Executor: exec, HostIPs: func() []string { return nil }, Events: events.New("node", nil, slog.New(slog.DiscardHandler)), Logger: slog.New(slog.DiscardHandler),
		}).Pod(func() { changes.Add(1) })
		defer p.Stop()
		pod := podtest.New(corev1.RestartPolicyAlways, "main")
		probe := &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"look"}}}}
		pod.Spec.Containers[0].LivenessProbe, pod.Spec.Containers[0].ReadinessProbe = probe, probe
		running := plan.View{Containers: []runtime.Container{{ID: "c1", Name: "main", State: runtime.ContainerRunning, Started: time.Now()}}}

		if got := p.Readiness("other"); !got.Ready {
			t.Errorf("a container without probes: %+v", got)
		}
		p.Follow(t.Context(), prober.Situation{Pod: pod, View: running})
		if got := p.Readiness("c1"); got.Ready {
			t.Errorf("ready before the first answer: %+v", got)
		}
		time.Sleep(1500 * time.Millisecond)
		if got := p.Readiness("c1"); !got.Ready || changes.Load() == 0 {
			t.Errorf("after a good answer: %+v, %d changes", got, changes.Load())
		}

		p.Follow(t.Context(), prober.Situation{Pod: pod, View: running, Ending: plan.EndDeleted})
		exec.code.Store(1)
		time.Sleep(3 * time.Second)
		if health, ready := p.Health("c1"), p.Readiness("c1"); health.Failed != "" || ready.Ready {
			t.Errorf("while the pod ends: health %+v, readiness %+v", health, ready)
		}
		p.Follow(t.Context(), prober.Situation{Pod: pod})
		if got := p.Readiness("c1"); !got.Ready {
			t.Errorf("the probes of a container that is gone are left: %+v", got)
		}
	})
}

// TestAdopted: a container that was ready when it was last reported stays so.
func TestAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := prober.New(prober.Config{
			Executor: new(executor), HostIPs: func() []string { return nil }, Events: events.New("node", nil, slog.New(slog.DiscardHandler)), Logger: slog.New(slog.DiscardHandler),
		}).Pod(func() {})
		defer p.Stop()
		pod := podtest.New(corev1.RestartPolicyAlways, "main")
		pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{InitialDelaySeconds: 60, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"look"}}}}
		last := &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", Ready: true, ContainerID: "containerd://c1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}}
		view := plan.View{Containers: []runtime.Container{{ID: "c1", Name: "main", State: runtime.ContainerRunning, Started: time.Now()}}}
		p.Follow(t.Context(), prober.Situation{Pod: pod, View: view, Last: last})
		if got := p.Readiness("c1"); !got.Ready {
			t.Errorf("%+v", got)
		}
	})
}

// TestKeepsNoStatus: probes that run keep neither the status nor the view in memory that they began with.
func TestKeepsNoStatus(t *testing.T) {
	p := prober.New(prober.Config{
		Executor: new(executor), HostIPs: func() []string { return nil }, Events: events.New("node", nil, slog.New(slog.DiscardHandler)), Logger: slog.New(slog.DiscardHandler),
	}).Pod(func() {})
	defer p.Stop()
	pod := podtest.New(corev1.RestartPolicyAlways, "main")
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{InitialDelaySeconds: 3600, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"look"}}}}
	begin := func() (weak.Pointer[corev1.PodStatus], weak.Pointer[runtime.Container]) {
		last := &corev1.PodStatus{Phase: corev1.PodRunning}
		containers := []runtime.Container{{ID: "c1", Name: "main", State: runtime.ContainerRunning, Started: time.Now()}}
		p.Follow(t.Context(), prober.Situation{Pod: pod, View: plan.View{Containers: containers}, Last: last})
		return weak.Make(last), weak.Make(&containers[0])
	}
	last, container := begin()
	for range 2 {
		goruntime.GC()
	}
	if last.Value() != nil || container.Value() != nil {
		t.Errorf("kept: the status %t, the view %t", last.Value() != nil, container.Value() != nil)
	}
	if got := p.Readiness("c1"); got.Ready {
		t.Errorf("no probe runs: %+v", got)
	}
}
