package edged_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// TestSandboxDiesUnderStart kills the sandbox just before a container is made or started
// in it: the pod is started again at once, and the attempt does not count as a crash.
func TestSandboxDiesUnderStart(t *testing.T) {
	for _, call := range []string{"CreateContainer main", "StartContainer main"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				struck := false
				b.rt.FailWith(func(c string) error {
					if c == call && !struck {
						struck = true
						b.rt.KillSandboxes()
					}
					return nil
				})
				b.start()
				defer func() { b.stop() }()
				p := newPod("web", busybox("serve"))
				b.put(p)
				settle(time.Second)
				if c := b.container(p.UID); !b.isReady(p.UID) || c.RestartCount != 0 || b.happened("Failed") > 0 {
					t.Errorf("%+v\ncalls %q\nevents %q", c, b.rt.Calls(), b.events)
				}
			})
		})
	}
}

// TestRebootInCrashSeries reboots a node whose container has crashed before and runs
// again: after the reboot it starts without a back-off.
func TestRebootInCrashSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		b.put(p)
		settle(time.Minute)
		b.rt.Exit("main", 3)
		settle(time.Minute)
		for n := int32(2); n < 5; n++ {
			b.stop()
			b.rt.KillSandboxes()
			b.start()
			settle(time.Second)
			if c := b.container(p.UID); !b.isReady(p.UID) || c.RestartCount != n {
				t.Fatalf("after reboot %d: %+v", n-1, c)
			}
			settle(time.Minute)
		}
		// The back-off after a crash is as long as it would have been before the reboots.
		b.rt.Behave("main", runtimetest.Program{RunFor: time.Second, ExitCode: 3})
		b.rt.Exit("main", 3)
		settle(9 * time.Second)
		if c := b.container(p.UID); c.State.Waiting == nil || !strings.Contains(c.State.Waiting.Message, "back-off 10s") {
			t.Errorf("%+v", c.State)
		}
	})
}

// TestNodeKeepsTransitionTimes restarts the agent: conditions that are as they were keep
// their lastTransitionTime, and those that changed meanwhile get a new one.
func TestNodeKeepsTransitionTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		before, reports := b.node.DeepCopy(), b.nodes
		b.stop()
		settle(time.Hour)
		b.start()
		settle(time.Second)
		if b.nodes == reports {
			t.Error("a new agent did not report the node")
		}
		for i, c := range b.node.Status.Conditions {
			if old := before.Status.Conditions[i]; !c.LastTransitionTime.Equal(&old.LastTransitionTime) {
				t.Errorf("%s changed at %s, want %s", c.Type, c.LastTransitionTime, old.LastTransitionTime)
			}
		}
		b.stop()
		b.rt.SetHealth(runtime.Health{RuntimeReady: true, NetworkMessage: "no CNI"})
		b.start()
		settle(time.Second)
		for i, c := range b.node.Status.Conditions {
			if same := c.LastTransitionTime.Equal(&before.Status.Conditions[i].LastTransitionTime); same == (c.Type == corev1.NodeReady) {
				t.Errorf("%s is %s since %s", c.Type, c.Status, c.LastTransitionTime)
			}
		}
	})
}

// TestMissingClusterDNS: one event of the node says that its pods do not get the
// cluster's name servers, however many pods it has and however often their sandboxes are
// replaced.
func TestMissingClusterDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		p.Spec.DNSPolicy = corev1.DNSClusterFirst
		b.put(p)
		other := newPod("other", busybox("serve"))
		other.Spec.DNSPolicy = corev1.DNSClusterFirst
		b.put(other)
		settle(time.Minute)
		for range 2 {
			b.stop()
			b.start()
			settle(time.Minute)
		}
		b.rt.KillSandboxes()
		settle(time.Minute)
		if n := b.happened("MissingClusterDNS"); n != 1 || b.happened("DNSConfigForming") > 0 || !b.isReady(p.UID) {
			t.Errorf("told %d times: %q", n, b.events)
		}
	})
}

// TestPodKeepsTransitionTimes restarts the agent of a node before the cloud has got the
// report of the pod's start.
func TestPodKeepsTransitionTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		b.put(p)
		settle(time.Minute)
		before := b.status[p.UID]
		restart := func() corev1.PodStatus {
			b.stop()
			settle(time.Hour)
			b.start()
			settle(time.Minute)
			return b.status[p.UID]
		}
		after := restart()
		if !after.StartTime.Equal(before.StartTime) {
			t.Errorf("started at %s, want %s", after.StartTime, before.StartTime)
		}
		for i, c := range after.Conditions {
			if old := before.Conditions[i]; c.Status != old.Status || !c.LastTransitionTime.Equal(&old.LastTransitionTime) {
				t.Errorf("%s is %s since %s, want %s since %s", c.Type, c.Status, c.LastTransitionTime, old.Status, old.LastTransitionTime)
			}
		}
		// Meanwhile the cloud set the pod to not ready, since the node seemed dead: it
		// turns ready again.
		p.Status = *after.DeepCopy()
		for i := range p.Status.Conditions {
			if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
				c.Status, c.LastTransitionTime = corev1.ConditionFalse, metav1.Now()
			}
		}
		b.put(p)
		for _, c := range restart().Conditions {
			if recent := time.Since(c.LastTransitionTime.Time) < time.Hour; c.Status != corev1.ConditionTrue || recent != (c.Type == corev1.PodReady) {
				t.Errorf("%s is %s since %s", c.Type, c.Status, c.LastTransitionTime)
			}
		}
	})
}

// TestWhatIsOverStaysOver: a pod has finished, and neither the cloud nor the runtime
// knows that any more.
func TestWhatIsOverStaysOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("main", runtimetest.Program{RunFor: time.Second})
		b.start()
		defer func() { b.stop() }()
		p := newPod("job", busybox("once"))
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		b.put(p)
		settle(time.Minute)
		b.stop()
		all, err := b.rt.ListSandboxes(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if err := b.rt.RemoveSandbox(t.Context(), s.ID); err != nil {
				t.Fatal(err)
			}
		}
		calls := len(b.rt.Calls())
		b.start()
		settle(time.Minute)
		if got := b.rt.Calls()[calls:]; b.phase(p.UID) != corev1.PodSucceeded || len(got) > 0 {
			t.Errorf("%s, calls %q", b.phase(p.UID), got)
		}
	})
}
