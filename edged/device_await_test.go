package edged_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/runtime"
)

// TestHeldWithDevices restarts the agent while a pod that wants a device is held: the pod
// waits for the plugin, is held on, and starts when it is released. It is rejected where the
// plugin does not come back.
func TestHeldWithDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDeviceBench(t)
		start := func() *edged.Agent {
			cfg := b.config()
			b.edit(&cfg)
			return b.startAgent(cfg)
		}
		start()
		defer func() { b.stop() }()
		b.connect(devices.Options{PreStartRequired: true}, "a")
		p := wants("p", "1")
		p.Annotations = map[string]string{edged.HoldUpgradeAnnotation: "true"}
		b.put(p)
		settle(5 * time.Second)
		if got := b.heldState(p.UID); got != "held" {
			t.Fatalf("at first: %s, %s", got, b.reason(p))
		}
		b.stop()
		agent := start()
		settle(time.Minute)
		if got := b.heldState(p.UID); got != "held" {
			t.Fatalf("before the plugin has registered again: %s, %s", got, b.reason(p))
		}
		plugin, _ := b.connect(devices.Options{PreStartRequired: true}, "a")
		settle(5 * time.Second)
		if err := agent.Unhold(t.Context(), "default", "p"); err != nil {
			t.Fatal(err)
		}
		settle(5 * time.Second)
		if b.heldState(p.UID) != "running" || b.health(p) != "a:Healthy" || strings.Join(plugin.Calls(), "|") != "Allocate a|PreStart a" {
			t.Errorf("released: %s, devices %s, calls %q", b.reason(p), b.health(p), plugin.Calls())
		}
		late := wants("late", "1")
		late.Annotations = p.Annotations
		b.del(p, 0)
		settle(time.Minute)
		b.put(late)
		settle(5 * time.Second)
		b.stop()
		start()
		settle(4 * time.Minute)
		if got := b.heldState(late.UID); got != "held" {
			t.Errorf("before five minutes without the plugin: %s, %s", got, b.reason(late))
		}
		settle(2 * time.Minute)
		if got := b.reason(late); !strings.HasPrefix(got, "Failed OutOf"+widget) {
			t.Errorf("after five minutes without the plugin: %s", got)
		}
	})
}

// TestDevicesRestartAll has a container with a device restart all: it keeps the device, and
// the plugin is asked before each start.
func TestDevicesRestartAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDeviceBench(t)
		b.start()
		defer func() { b.stop() }()
		plugin, _ := b.connect(devices.Options{PreStartRequired: true}, "a", "b")
		p := wants("p", "1")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].RestartPolicy = new(corev1.ContainerRestartPolicyNever)
		p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{
			Action:    corev1.ContainerRestartRuleActionRestartAllContainers,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
		}}
		b.put(p)
		settle(5 * time.Second)
		b.rt.Exit("p", 42)
		settle(5 * time.Second)
		if b.container(p.UID).State.Running == nil || b.health(p) != "a:Healthy" || strings.Join(plugin.Calls(), "|") != "Allocate a|PreStart a|PreStart a" {
			t.Errorf("%s, devices %s, calls %q", b.reason(p), b.health(p), plugin.Calls())
		}
		b.rt.Exit("p", 0)
		settle(5 * time.Second)
		q := wants("q", "2")
		b.put(q)
		settle(5 * time.Second)
		if b.phase(p.UID) != corev1.PodSucceeded || b.phase(q.UID) != corev1.PodRunning {
			t.Errorf("%s; the next: %s", b.reason(p), b.reason(q))
		}
	})
}

// TestPreemptionWhileStarting preempts a pod of which nothing runs yet, but whose sandbox is
// being made: the critical pod waits until that is over.
func TestPreemptionWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.startSmall()
		defer func() { b.stop() }()
		var busy atomic.Bool
		b.rt.FailWith(func(call string) error {
			switch {
			case strings.HasPrefix(call, "RunSandbox") && strings.Contains(call, "slow"):
				busy.Store(true)
				<-time.After(10 * time.Second) // whatever its context
				busy.Store(false)
			case strings.HasPrefix(call, "RunSandbox") && strings.Contains(call, "critical") && busy.Load():
				t.Error("the critical pod starts while the other holds its room")
			}
			return nil
		})
		b.put(named("keep"))
		settle(5 * time.Second)
		slow := named("slow")
		b.put(slow)
		settle(100 * time.Millisecond)
		critical := named("critical")
		critical.Spec.Priority = new(int32(2_000_001_000))
		b.put(critical)
		settle(time.Minute)
		if b.phase(critical.UID) != corev1.PodRunning || b.phase(slow.UID) == corev1.PodRunning {
			t.Errorf("phases %s, %s", b.phase(critical.UID), b.phase(slow.UID))
		}
		if !slices.ContainsFunc(b.rt.Configs(), func(c runtime.ContainerConfig) bool { return c.Name == "critical" }) {
			t.Errorf("calls %q", b.rt.Calls())
		}
	})
}
