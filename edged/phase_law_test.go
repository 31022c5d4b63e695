package edged_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// phaseWatch checks the runtime whenever a pod is reported to have ended, and whenever
// something starts.
type phaseWatch struct {
	*bench
	over map[string]bool // by name
}

func (w *phaseWatch) PodStatus(ctx context.Context, p *corev1.Pod) error {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		w.over[p.Name] = true
		boxes, err := w.rt.ListSandboxes(ctx, string(p.UID))
		if err != nil {
			return err
		}
		containers, err := w.rt.ListContainers(ctx, string(p.UID))
		if err != nil {
			return err
		}
		for _, c := range containers {
			if c.State == runtime.ContainerRunning {
				w.t.Errorf("%s is %s (%s) while its container %s runs", p.Name, p.Status.Phase, p.Status.Reason, c.Name)
			}
		}
		if slices.ContainsFunc(boxes, func(s runtime.Sandbox) bool { return s.Ready }) {
			w.t.Errorf("%s is %s (%s) while it has a sandbox", p.Name, p.Status.Phase, p.Status.Reason)
		}
	} else if w.over[p.Name] {
		w.t.Errorf("%s was over and is %s", p.Name, p.Status.Phase)
	}
	return w.cloud.PodStatus(ctx, p)
}

// TestNoPhaseAheadOfProcesses: no pod is Succeeded or Failed while one of its processes
// runs, or will run: schedulers and controllers then give its resources, ports and files
// to a successor.
func TestNoPhaseAheadOfProcesses(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	deadline := func(p *corev1.Pod, seconds int64) { p.Spec.ActiveDeadlineSeconds = &seconds }
	side := func(p *corev1.Pod) {
		c := busybox("serve")
		c.Name, c.RestartPolicy = "side", &always
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	stubborn := runtimetest.Program{StopAfter: time.Hour} // it ignores SIGTERM
	for _, tt := range []struct {
		name  string
		mend  func(b *bench, p *corev1.Pod)
		later func(b *bench, p *corev1.Pod) // at 10 s
		want  corev1.PodPhase
	}{
		{"a deadline", func(b *bench, p *corev1.Pod) {
			deadline(p, 5)
			b.rt.Behave("main", stubborn)
		}, nil, corev1.PodFailed},
		{"sidecars that stop slowly", func(b *bench, p *corev1.Pod) {
			side(p)
			b.rt.Behave("main", runtimetest.Program{RunFor: 5 * time.Second})
			b.rt.Behave("side", stubborn)
		}, nil, corev1.PodSucceeded},
		{"an init container that failed beside a sidecar", func(b *bench, p *corev1.Pod) {
			side(p)
			c := busybox("prepare")
			c.Name = "init"
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
			b.rt.Behave("side", stubborn)
			b.rt.Behave("init", runtimetest.Program{RunFor: time.Second, ExitCode: 1})
		}, nil, corev1.PodFailed},
		{"a hook that hangs after the start", func(b *bench, p *corev1.Pod) {
			deadline(p, 5)
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3600}}}
			b.rt.Behave("main", stubborn)
		}, nil, corev1.PodFailed},
		{"a hook that hangs before the stop", func(b *bench, p *corev1.Pod) {
			deadline(p, 5)
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3600}}}
		}, nil, corev1.PodFailed},
		{"an image that comes slowly", func(b *bench, p *corev1.Pod) {
			deadline(p, 5)
			p.Spec.Containers[0].Image = "example.com/slow:1"
			b.rt.FailWith(func(call string) error {
				if strings.HasPrefix(call, "PullImage") {
					pass(20 * time.Second)
				}
				return nil
			})
		}, nil, corev1.PodFailed},
		{"a start that the runtime finishes although it was cut", func(b *bench, p *corev1.Pod) {
			deadline(p, 5)
			b.rt.FailWith(func(call string) error {
				if strings.HasPrefix(call, "StartContainer") {
					pass(5 * time.Second)
				}
				return nil
			})
		}, nil, corev1.PodFailed},
		{"a container whose probe fails and that does not restart", func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe = execProbe("live")
			b.rt.ExecWith(fails("live"))
			b.rt.Behave("main", stubborn)
		}, nil, corev1.PodFailed},
		{"somebody else who calls the pod Failed", func(b *bench, _ *corev1.Pod) { b.rt.Behave("main", stubborn) }, func(b *bench, p *corev1.Pod) {
			p = p.DeepCopy()
			p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Preempted"
			b.put(p)
		}, corev1.PodFailed},
		{"a deletion", func(b *bench, _ *corev1.Pod) { b.rt.Behave("main", runtimetest.Program{StopAfter: 20 * time.Second}) },
			func(b *bench, p *corev1.Pod) { b.del(p, 30) }, corev1.PodSucceeded},
		{"a deletion of a pod that never ran", func(b *bench, _ *corev1.Pod) { b.rt.FailWith(failing("RunSandbox")) },
			func(b *bench, p *corev1.Pod) { b.del(p, 30) }, corev1.PodFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				p := newPod("web", busybox("serve"))
				p.Spec.RestartPolicy = corev1.RestartPolicyNever
				tt.mend(b, p)
				cfg := b.config()
				cfg.Reports = &phaseWatch{b, make(map[string]bool)}
				stop := runAgent(t, cfg)
				b.put(p)
				settle(10 * time.Second)
				if tt.later != nil {
					tt.later(b, p)
				}
				settle(2 * time.Minute)
				if got := b.phase(p.UID); got != tt.want {
					t.Errorf("the pod is %s, want %s: %s", got, tt.want, asJSON(t, b.status[p.UID]))
				}
				stop()
			})
		})
	}
}
