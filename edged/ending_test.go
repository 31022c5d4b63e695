package edged_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// TestPreStopOfSidecars: the preStop hooks of all containers begin at once, also when the
// main container does not stop within the grace period, and sidecars are stopped after
// it, the last first (KEP-753).
func TestPreStopOfSidecars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		began := time.Now()
		var hooks []string
		b.rt.ExecWith(func(c runtime.Container, _ []string) (runtime.ExecResult, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			hooks = append(hooks, fmt.Sprint(c.Name, " ", time.Since(began)))
			return runtime.ExecResult{}, nil
		})
		always := corev1.ContainerRestartPolicyAlways
		p := newPod("web", busybox("serve"))
		for _, name := range []string{"first", "second"} {
			c := busybox("serve")
			c.Name, c.RestartPolicy = name, &always
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		}
		for _, c := range []*corev1.Container{&p.Spec.Containers[0], &p.Spec.InitContainers[0], &p.Spec.InitContainers[1]} {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"flush"}}}}
		}
		b.rt.Behave("main", runtimetest.Program{StopAfter: time.Hour})
		b.put(p)
		b.start()
		defer func() { b.stop() }()
		settle(2 * time.Second)
		began = time.Now()
		b.del(p, 10)
		settle(time.Minute)
		b.mu.Lock()
		defer b.mu.Unlock()
		slices.Sort(hooks)
		if want := []string{"first 0s", "main 0s", "second 0s"}; !slices.Equal(hooks, want) {
			t.Errorf("hooks %q, want %q", hooks, want)
		}
		var stops []string
		for _, call := range b.rt.Calls() {
			if name, ok := strings.CutPrefix(call, "StopContainer "); ok {
				stops = append(stops, name)
			}
		}
		if want := []string{"main", "second", "first"}; !slices.Equal(stops, want) || !b.gone[p.UID] {
			t.Errorf("stopped %q, want %q; gone %t", stops, want, b.gone[p.UID])
		}
	})
}

// TestLateSandbox: a sandbox appears for a pod that was removed, since the runtime
// finished a request that the agent had given up. The running agent removes it.
func TestLateSandbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		settle(time.Second)
		if _, err := b.rt.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: "late", Namespace: "default", UID: "late-uid"}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.rt.RunSandbox(t.Context(), &runtime.SandboxConfig{
			Name: "other", Namespace: "default", UID: "other-uid", Annotations: map[string]string{"edgekit.io/node": "somebody-else"},
		}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		left, err := b.rt.ListSandboxes(t.Context(), "")
		if err != nil || len(left) != 1 || left[0].PodUID != "other-uid" {
			t.Errorf("left: %+v %v", left, err)
		}
	})
}

// TestLogsAfterCrash: the logs of a pod that was deleted by force are removed also when
// nothing but its folder is left of it.
func TestLogsAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		logs := filepath.Join(b.root, "logs", "default_web_some-uid")
		for _, dir := range []string{logs, filepath.Join(b.root, "root", "pods", "some-uid"), filepath.Join(b.root, "logs", "default_web_other-uid")} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		left, err := os.ReadDir(filepath.Join(b.root, "logs"))
		if err != nil || len(left) != 1 || left[0].Name() != "default_web_other-uid" {
			t.Errorf("left: %v %v", left, err)
		}
	})
}

// TestDeadlineOfClocks: activeDeadlineSeconds counts from the pod's creation if the clock
// said 1970 when it started, and from now if the clock was set back.
func TestDeadlineOfClocks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start time.Duration // before the bubble's now; the pod was made a minute ago
	}{
		{"started in 1970", 30 * 365 * 24 * time.Hour},
		{"started in the future", -365 * 24 * time.Hour},
		{"started a moment ago", 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				p := newPod("web", busybox("serve"))
				p.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Minute))
				p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &metav1.Time{Time: time.Now().Add(-tt.start)}
				hour := int64(3600)
				p.Spec.ActiveDeadlineSeconds = &hour
				b.put(p)
				b.start()
				defer func() { b.stop() }()
				settle(30 * time.Minute)
				if b.phase(p.UID) != corev1.PodRunning {
					t.Errorf("after half an hour: %s", asJSON(t, b.status[p.UID]))
				}
				settle(31 * time.Minute)
				if b.phase(p.UID) != corev1.PodFailed {
					t.Errorf("after an hour: %s", asJSON(t, b.status[p.UID]))
				}
			})
		})
	}
}

// TestForeignConditions: the node does not report conditions that others set, but its API
// shows them.
func TestForeignConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := newPod("web", busybox("serve"))
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}}
		p.Status.Conditions = []corev1.PodCondition{{Type: "example.com/gate", Status: corev1.ConditionTrue}}
		b.put(p)
		b.start()
		defer func() { b.stop() }()
		settle(2 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.isReady(p.UID) {
			t.Error("the gate is not looked at")
		}
		for _, st := range b.history[p.UID] {
			for _, c := range st.Conditions {
				if c.Type == "example.com/gate" {
					t.Fatalf("reported: %+v", c)
				}
			}
		}
	})
}

// TestBackOffEvent: a crash loop records a warning each time that a restart waits.
func TestBackOffEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("main", runtimetest.Program{RunFor: time.Second, ExitCode: 42})
		b.put(newPod("crash", busybox("exit 42")))
		b.start()
		defer func() { b.stop() }()
		settle(40 * time.Second)
		if n := b.happened("BackOff"); n < 2 || n > 4 {
			t.Errorf("%d events: %q", n, b.events)
		}
	})
}

// TestLongEvent: a long event's text is cut between characters, since the API server
// accepts UTF-8 only.
func TestLongEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "RunSandbox") {
				return errors.New(strings.Repeat("ä", 600) + "x" + strings.Repeat("ä", 600))
			}
			return nil
		})
		b.put(newPod("web", busybox("serve")))
		b.start()
		defer func() { b.stop() }()
		settle(time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range b.events {
			if !utf8.ValidString(e) {
				t.Errorf("%q", e)
			}
		}
		if len(b.events) == 0 {
			t.Error("no event")
		}
	})
}
