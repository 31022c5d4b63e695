package edged_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// conditionOf is the status of a condition of a pod; "" without.
func conditionOf(st corev1.PodStatus, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range st.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

// TestBootIsReported starts an agent while its runtime does not answer. After a boot no
// process of before can run: the pods are reported as not ready at once. An agent that was
// only restarted reports nothing, since its pods may well run.
func TestBootIsReported(t *testing.T) {
	for name, tt := range map[string]struct {
		boots  bool
		policy corev1.RestartPolicy
		exit   bool // the container has exited before
		ready  corev1.ConditionStatus
		phase  corev1.PodPhase // while the runtime does not answer
	}{
		"boot":                             {true, corev1.RestartPolicyAlways, false, corev1.ConditionFalse, corev1.PodRunning},
		"boot, and it never restarts":      {true, corev1.RestartPolicyNever, false, corev1.ConditionFalse, corev1.PodRunning},
		"boot of a pod that has succeeded": {true, corev1.RestartPolicyNever, true, corev1.ConditionFalse, corev1.PodSucceeded},
		"restart of the agent":             {false, corev1.RestartPolicyAlways, false, corev1.ConditionTrue, corev1.PodRunning},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.start()
				defer func() { b.stop() }()
				p := newPod("web", busybox("serve"))
				p.Spec.RestartPolicy = tt.policy
				if tt.exit {
					b.rt.Behave("main", runtimetest.Program{RunFor: time.Second})
				}
				b.put(p)
				settle(time.Minute)
				b.stop()
				if tt.boots {
					b.node.Status.NodeInfo.BootID = "the boot before"
					b.rt.KillSandboxes()
				}
				before := len(b.history[p.UID])
				b.rt.FailReadsWith(func(string) error { return errors.New("connection refused") })
				b.start()
				settle(time.Minute)
				st := b.status[p.UID]
				if conditionOf(st, corev1.PodReady) != tt.ready || st.Phase != tt.phase {
					t.Errorf("while the runtime does not answer: %s", asJSON(t, st))
				}
				if changes := tt.boots && !tt.exit; (len(b.history[p.UID]) > before) != changes {
					t.Errorf("%d reports", len(b.history[p.UID])-before)
				}
				b.rt.FailReadsWith(nil)
				settle(time.Minute)
				switch {
				case tt.policy == corev1.RestartPolicyAlways && !b.isReady(p.UID),
					tt.policy == corev1.RestartPolicyNever && !tt.exit && b.phase(p.UID) != corev1.PodFailed,
					tt.exit && b.phase(p.UID) != corev1.PodSucceeded:
					t.Errorf("when it answers: %s", asJSON(t, b.status[p.UID]))
				}
				if n := b.container(p.UID).RestartCount; tt.policy == corev1.RestartPolicyAlways && (n > 0) != tt.boots {
					t.Errorf("restart count %d", n)
				}
			})
		})
	}
}

// TestBootIsReportedOfStaticPods: a static pod is reported under the uid of its mirror. The
// pod whose mirror is not known is not reported.
func TestBootIsReportedOfStaticPods(t *testing.T) {
	for name, mirrored := range map[string]bool{"with a mirror": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.noMirrors = !mirrored
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(manifest), 0o600); err != nil {
					t.Fatal(err)
				}
				b.edit = func(cfg *edged.Config) { cfg.StaticPodDir = dir }
				b.start()
				defer func() { b.stop() }()
				settle(time.Minute)
				b.stop()
				b.node.Status.NodeInfo.BootID = "the boot before"
				b.rt.KillSandboxes()
				b.rt.FailReadsWith(func(string) error { return errors.New("connection refused") })
				b.start()
				settle(time.Minute)
				b.mu.Lock()
				defer b.mu.Unlock()
				if (len(b.status) == 1) != mirrored {
					t.Fatalf("reports of %d pods", len(b.status))
				}
				for uid, st := range b.status {
					if conditionOf(st, corev1.PodReady) != corev1.ConditionFalse {
						t.Errorf("%s: %s", uid, asJSON(t, st))
					}
				}
			})
		})
	}
}
