package edged_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/edged/shutdown/shutdowntest"
)

// TestShutdown: the machine prepares to shut down. The node is not ready, its pods are
// ended with their hooks and grace, the critical one last, a new pod is refused, and the
// statuses are stored before the lock is released. After the boot the pod of the API server
// stays Failed, and the static pod runs again with a new mirror.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("main", runtimetest.Program{StopAfter: 3 * time.Second})
		logind := &shutdowntest.Logind{Delay: time.Minute}
		cfg := b.config()
		cfg.StaticPodDir = t.TempDir()
		cfg.Shutdown = edged.Shutdown{GracePeriod: 30 * time.Second, GracePeriodCriticalPods: 10 * time.Second, Dial: logind.Dial, ConfigDir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(cfg.StaticPodDir, "web.yaml"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		app, critical, late := newPod("app", busybox("serve")), newPod("critical", busybox("serve")), newPod("late", busybox("serve"))
		priority := int32(2_000_000_000)
		critical.Spec.Priority = &priority
		b.put(app)
		b.put(critical)
		stop := runAgent(t, cfg)
		settle(10 * time.Second)
		mirror := mirrorOf(b.cloud)
		if !isReady(b, app.UID) || !isReady(b, critical.UID) || mirror == nil || !isReady(b, mirror.UID) || logind.Locks() != 1 {
			t.Fatalf("not all run; %d locks", logind.Locks())
		}
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		if c := nodeCondition(b, corev1.NodeReady); c.Status != corev1.ConditionFalse || c.Reason != "KubeletNotReady" || c.Message != "node is shutting down" {
			t.Errorf("%+v", c)
		}
		b.put(late)
		settle(500 * time.Millisecond)
		if st, _ := b.statusOf(late.UID); st.Phase != corev1.PodFailed || st.Reason != "NodeShutdown" {
			t.Errorf("a new pod: %+v", st)
		}
		if !isReady(b, critical.UID) {
			t.Error("the critical pod ended with the others")
		}
		if err := logind.WaitLocks(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*corev1.Pod{app, critical, mirror} {
			st, disrupted := b.statusOf(p.UID)
			if st.Phase != corev1.PodFailed || st.Reason != "Terminated" || disrupted == nil || disrupted.Reason != "TerminationByKubelet" || !strings.Contains(st.Message, "imminent node shutdown") {
				t.Errorf("%s: %s %s %+v", p.Name, st.Phase, st.Reason, disrupted)
			}
		}
		stop()
		shown := mirror.DeepCopy()
		shown.Status, _ = b.statusOf(mirror.UID) // the API server keeps a terminal phase
		b.put(shown)
		runAgent(t, cfg) // after the boot
		settle(time.Minute)
		if b.phase(app.UID) != corev1.PodFailed {
			t.Error("an ended pod ran again")
		}
		again := mirrorOf(b.cloud)
		if again == nil || again.UID == mirror.UID || !isReady(b, again.UID) {
			t.Errorf("the static pod does not run again: %+v", again)
		}
		if c := nodeCondition(b, corev1.NodeReady); c.Status != corev1.ConditionTrue {
			t.Errorf("%+v", c)
		}
	})
}

// TestShutdownCancelled: the node is ready again, takes pods, and its static pod runs.
func TestShutdownCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		logind := &shutdowntest.Logind{Delay: time.Minute}
		cfg := b.config()
		cfg.StaticPodDir = t.TempDir()
		cfg.Shutdown = edged.Shutdown{GracePeriodByPodPriority: map[int32]time.Duration{0: 5 * time.Second}, Dial: logind.Dial, ConfigDir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(cfg.StaticPodDir, "web.yaml"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		runAgent(t, cfg)
		settle(10 * time.Second)
		for _, down := range []bool{true, false} {
			if err := logind.Prepare(t.Context(), down); err != nil {
				t.Fatal(err)
			}
			settle(10 * time.Second)
		}
		p := newPod("app", busybox("serve"))
		b.put(p)
		settle(time.Minute)
		mirror := mirrorOf(b.cloud)
		if !isReady(b, p.UID) || mirror == nil || !isReady(b, mirror.UID) || logind.Locks() != 1 {
			t.Errorf("app %s, mirror %+v, %d locks", b.phase(p.UID), mirror, logind.Locks())
		}
		if c := nodeCondition(b, corev1.NodeReady); c.Status != corev1.ConditionTrue {
			t.Errorf("%+v", c)
		}
	})
}

// isReady reports whether the pod was last reported ready.
func isReady(b *bench, uid types.UID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isReady(uid)
}

// nodeCondition is a condition of the node as last reported.
func nodeCondition(b *bench, kind corev1.NodeConditionType) corev1.NodeCondition {
	for _, c := range b.nodeStatus().Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// TestSettingsRefused: each wrong setting is named with the remedy.
func TestSettingsRefused(t *testing.T) {
	dial := (&shutdowntest.Logind{}).Dial
	for want, edit := range map[string]func(*edged.Config){
		"GracePeriodCriticalPods is 20s, more": func(c *edged.Config) {
			c.Shutdown = edged.Shutdown{GracePeriod: 10 * time.Second, GracePeriodCriticalPods: 20 * time.Second, Dial: dial}
		},
		"Shutdown.Dial is required": func(c *edged.Config) { c.Shutdown.GracePeriod = time.Second },
		"whole seconds":             func(c *edged.Config) { c.Shutdown = edged.Shutdown{GracePeriod: time.Millisecond, Dial: dial} },
		"leave one of the two out": func(c *edged.Config) {
			c.Shutdown = edged.Shutdown{GracePeriod: time.Second, GracePeriodByPodPriority: map[int32]time.Duration{0: time.Second}, Dial: dial}
		},
		"PodsPerCore is -1":                 func(c *edged.Config) { c.PodsPerCore = -1 },
		"EventQPS is -1":                    func(c *edged.Config) { c.EventQPS = -1 },
		"MaxContainerRestartPeriod is 10m0": func(c *edged.Config) { c.MaxContainerRestartPeriod = 10 * time.Minute },
		"is no URL":                         func(c *edged.Config) { c.StaticPodURL = "ftp://x" },
	} {
		b := newBench(t)
		cfg := b.config()
		edit(&cfg)
		if _, err := edged.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestMaxContainerRestartPeriod: a container that keeps exiting restarts at least so often.
func TestMaxContainerRestartPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("main", runtimetest.Program{RunFor: time.Millisecond, ExitCode: 1})
		b.edit = func(c *edged.Config) { c.MaxContainerRestartPeriod = 2 * time.Second }
		p := newPod("web", busybox("serve"))
		b.put(p)
		b.start()
		settle(time.Minute)
		st, _ := b.statusOf(p.UID)
		if n := st.ContainerStatuses[0].RestartCount; n < 20 || n > 31 {
			t.Errorf("%d restarts in a minute", n)
		}
		b.stop()
	})
}
