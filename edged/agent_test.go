package edged_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// bench is an Agent on a fake runtime in a synctest bubble.
type bench struct {
	*cloud
	t    *testing.T
	rt   *runtimetest.Runtime
	root string
	stop func()
	away atomic.Bool         // no registry answers
	edit func(*edged.Config) // nil changes nothing
}

func newBench(t *testing.T) *bench {
	b := &bench{cloud: newCloud(), t: t, rt: runtimetest.New(), root: t.TempDir()}
	b.rt.AddImage("docker.io/library/busybox:latest")
	return b
}

func (b *bench) config() edged.Config {
	return edged.Config{
		NodeName: "edge", Runtime: b.rt, Objects: b.cloud, Reports: b.cloud, Root: filepath.Join(b.root, "root"), LogRoot: filepath.Join(b.root, "logs"),
		NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, Unwritable: b.unwritable,
		DialRegistry: b.dialRegistry, Eviction: edged.Eviction{Hard: map[string]string{}}, // the tests' own machine may be full
	}
}

// dialRegistry is a network in which every registry answers, unless all are away.
func (b *bench) dialRegistry(context.Context, string, string) (net.Conn, error) {
	if b.away.Load() {
		return nil, errors.New("no route to host")
	}
	here, there := net.Pipe()
	return here, there.Close()
}

func (b *bench) start() {
	b.t.Helper()
	cfg := b.config()
	if b.edit != nil {
		b.edit(&cfg)
	}
	b.stop = runAgent(b.t, cfg)
}

func (b *bench) container(uid types.UID) corev1.ContainerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	if st := b.status[uid]; len(st.ContainerStatuses) > 0 {
		return st.ContainerStatuses[0]
	}
	return corev1.ContainerStatus{}
}

func (b *bench) phase(uid types.UID) corev1.PodPhase {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status[uid].Phase
}

func (b *bench) happened(reason string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, e := range b.events {
		if strings.HasPrefix(e, reason+": ") {
			n++
		}
	}
	return n
}

// settle lets the bubble run for a while.
func settle(d time.Duration) {
	pass(d)
	synctest.Wait()
}

// pass lets time pass in the bubble, as a slow runtime does.
func pass(d time.Duration) { <-time.After(d) }

func TestPodLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		b.put(p)
		settle(time.Second)
		b.mu.Lock()
		ready, st := b.isReady(p.UID), b.status[p.UID]
		b.mu.Unlock()
		if !ready || st.Phase != corev1.PodRunning || st.PodIP == "" || st.HostIP != "192.0.2.7" || st.QOSClass != corev1.PodQOSBestEffort {
			t.Fatalf("%+v", st)
		}
		if !strings.HasPrefix(b.container(p.UID).ContainerID, "fake://") {
			t.Errorf("container id %s", b.container(p.UID).ContainerID)
		}
		b.rt.Behave("main", runtimetest.Program{StopAfter: 3 * time.Second})
		b.del(p, 30)
		settle(time.Second)
		want := []string{"RunSandbox web", "CreateContainer main", "StartContainer main", "StopContainer main", "StopSandbox web", "RemoveSandbox web"}
		if got := b.rt.Calls(); !slices.Equal(got, want) {
			t.Errorf("calls %q", got)
		}
		if !b.gone[p.UID] || b.phase(p.UID) != corev1.PodSucceeded {
			t.Errorf("gone %t, phase %s", b.gone[p.UID], b.phase(p.UID))
		}
		if left, _ := filepath.Glob(b.root + "/*/*/*"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestCrashLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("main", runtimetest.Program{RunFor: time.Second, ExitCode: 3})
		b.start()
		defer func() { b.stop() }()
		p := newPod("crash", busybox("exit 3"))
		b.put(p)
		// First exit at 1 s, restarted at once; second exit at 2 s, then 10 s of back-off.
		settle(3 * time.Second)
		if c := b.container(p.UID); c.RestartCount != 1 || c.State.Waiting == nil || c.State.Waiting.Reason != "CrashLoopBackOff" || c.LastTerminationState.Terminated.ExitCode != 3 {
			t.Errorf("after 3 s: %+v", c)
		}
		// The back-off survives the agent.
		b.stop()
		b.start()
		settle(8 * time.Second)
		if c := b.container(p.UID); c.RestartCount != 1 {
			t.Errorf("after 11 s: %+v", c)
		}
		settle(2 * time.Second)
		if c := b.container(p.UID); c.RestartCount != 2 {
			t.Errorf("after 13 s: %+v", c)
		}
		settle(21 * time.Second)
		if c := b.container(p.UID); c.RestartCount != 3 {
			t.Errorf("after 34 s: %+v", c)
		}
		settle(time.Hour)
		if n := len(b.rt.Configs()); n > 2 {
			t.Errorf("%d containers are kept", n)
		}
	})
}

// TestCrashAnywhere ends the agent at each call that changes something, before or after
// the change, and checks that the next agent reaches the same end.
func TestCrashAnywhere(t *testing.T) {
	for n := range 8 {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { crashAt(t, n, after) })
			})
		}
	}
}

func crashAt(t *testing.T, n int, after bool) {
	b := newBench(t)
	init := busybox("prepare")
	init.Name = "init"
	b.rt.Behave("init", runtimetest.Program{RunFor: time.Second})
	p := newPod("web", busybox("serve"))
	p.Spec.InitContainers = []corev1.Container{init}
	b.put(p)
	crash := func() {
		calls := 0
		done := make(chan struct{})
		b.start()
		b.rt.FailWith(func(string) error {
			calls++
			if calls == n+1 && !after || calls == n+2 && after {
				close(done)
				return errors.New("power cut")
			}
			if calls > n+1 {
				return errors.New("no power")
			}
			return nil
		})
		select {
		case <-done:
		case <-time.After(10 * time.Second):
		}
		b.stop()
		b.rt.FailWith(nil)
	}
	crash()
	b.start()
	settle(time.Minute)
	b.mu.Lock()
	ready := b.isReady(p.UID)
	b.mu.Unlock()
	if c := b.container(p.UID); !ready || c.RestartCount != 0 {
		t.Errorf("ready %t, %+v; calls %q", ready, c, b.rt.Calls())
	}
	b.stop()
	b.del(p, 5)
	crash()
	b.start()
	settle(time.Minute)
	left, _ := b.rt.ListSandboxes(t.Context(), "")
	if !b.gone[p.UID] || len(left) > 0 || len(b.rt.Configs()) > 0 {
		t.Errorf("gone %t, sandboxes %v; calls %q", b.gone[p.UID], left, b.rt.Calls())
	}
	b.stop()
}

func TestOrphansAndForcedDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		mk := func(uid string, notes map[string]string) {
			_, err := b.rt.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: uid, Namespace: "d", UID: uid, Annotations: notes})
			if err != nil {
				t.Fatal(err)
			}
		}
		mk("orphan", nil)
		mk("other", map[string]string{"edgekit.io/node": "somebody-else"})
		p := newPod("web", busybox("serve"))
		b.put(p)
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		b.remove(p.UID)
		settle(2 * time.Second)
		left, _ := b.rt.ListSandboxes(t.Context(), "")
		if len(left) != 1 || left[0].PodUID != "other" {
			t.Errorf("left: %+v", left)
		}
		if b.gone[p.UID] {
			t.Error("a pod without a deletion timestamp was reported gone")
		}
	})
}

func TestImagePullBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "PullImage") {
				return errors.New("no such host")
			}
			return nil
		})
		b.start()
		defer func() { b.stop() }()
		p := newPod("far", corev1.Container{Name: "main", Image: "quay.io/a/b:1"})
		b.put(p)
		settle(time.Second)
		if c := b.container(p.UID); c.State.Waiting.Reason != "ErrImagePull" || c.State.Waiting.Message != "no such host" {
			t.Errorf("%+v", c.State.Waiting)
		}
		settle(3 * time.Second)
		if c := b.container(p.UID); c.State.Waiting.Reason != "ImagePullBackOff" {
			t.Errorf("%+v", c.State.Waiting)
		}
		b.rt.FailWith(nil)
		settle(8 * time.Second)
		if !b.isReady(p.UID) || b.happened("Pulled") != 1 || b.happened("BackOff") != 1 {
			t.Errorf("%+v, events %q", b.container(p.UID), b.events)
		}
	})
}

func TestMissingConfigMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		c := busybox("serve")
		c.VolumeMounts = []corev1.VolumeMount{{Name: "cfg", MountPath: "/cfg"}}
		p := newPod("web", c)
		p.Spec.Volumes = []corev1.Volume{{Name: "cfg", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}}}}}
		b.put(p)
		settle(5 * time.Second)
		if b.happened("FailedMount") == 0 || len(b.rt.Calls()) > 0 || b.phase(p.UID) != corev1.PodPending {
			t.Errorf("events %q, calls %q", b.events, b.rt.Calls())
		}
		b.setConfigMap("default", "cfg", map[string]string{"k": "v"})
		settle(time.Second) // at once, not after the back-off
		if !b.isReady(p.UID) {
			t.Errorf("%+v", b.container(p.UID))
		}
	})
}

func TestDeadlineAdmissionAndReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		five := int64(5)
		p := newPod("late", busybox("serve"))
		p.Spec.ActiveDeadlineSeconds = &five
		b.put(p)
		big := busybox("serve")
		big.Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("1000")}
		q := newPod("big", big)
		b.put(q)
		unsafe := newPod("unsafe", busybox("serve"))
		unsafe.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
		b.put(unsafe)
		web := newPod("web", busybox("serve"))
		b.put(web)
		settle(7 * time.Second)
		if st := b.status[unsafe.UID]; st.Phase != corev1.PodFailed || st.Reason != "SysctlForbidden" {
			t.Errorf("%s %s", st.Phase, st.Reason)
		}
		if st := b.status[p.UID]; st.Phase != corev1.PodFailed || st.Reason != "DeadlineExceeded" {
			t.Errorf("%s %s", st.Phase, st.Reason)
		}
		if st := b.status[q.UID]; st.Phase != corev1.PodFailed || st.Reason != "OutOfcpu" {
			t.Errorf("%s %s", st.Phase, st.Reason)
		}
		b.rt.KillSandboxes()
		settle(time.Second)
		if c := b.container(web.UID); !b.isReady(web.UID) || c.RestartCount != 1 {
			t.Errorf("after a reboot: %+v", c)
		}
		if st := b.status[p.UID]; st.Phase != corev1.PodFailed {
			t.Errorf("a failed pod runs again: %+v", st)
		}
	})
}

func TestGraceIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("main", runtimetest.Program{StopAfter: time.Hour})
		b.start()
		defer func() { b.stop() }()
		p := newPod("slow", busybox("serve"))
		b.put(p)
		settle(time.Second)
		b.del(p, 600)
		settle(5 * time.Second)
		if b.gone[p.UID] {
			t.Fatal("killed too early")
		}
		b.del(p, 1)
		settle(4 * time.Second)
		if !b.gone[p.UID] {
			t.Errorf("a shorter grace period has no effect: %q", b.rt.Calls())
		}
	})
}

func TestNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		settle(10 * time.Minute)
		n := b.node
		if n.Labels[corev1.LabelHostname] != "edge" || n.Status.NodeInfo.ContainerRuntimeVersion != "fake://1" || n.Status.Addresses[0].Address != "192.0.2.7" {
			t.Errorf("%+v", n)
		}
		for _, name := range []corev1.ResourceName{"cpu", "memory", "pods", "ephemeral-storage"} {
			if q := n.Status.Allocatable[name]; q.IsZero() {
				t.Errorf("no %s", name)
			}
		}
		if b.nodes > 1 {
			t.Errorf("%d reports of a node that did not change", b.nodes)
		}
		b.rt.SetHealth(runtime.Health{RuntimeReady: true, NetworkMessage: "no CNI"})
		settle(11 * time.Second)
		ready := b.node.Status.Conditions[3]
		if b.nodes != 2 || ready.Status != corev1.ConditionFalse || !strings.Contains(ready.Message, "no CNI") {
			t.Errorf("%d reports, %+v", b.nodes, ready)
		}
	})
}

// TestUnwritable: the node's disk refuses writes for a while. The cloud gets one event,
// and one more when that is over; reports that were sent but not stored meanwhile are
// made again.
func TestUnwritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		pressure := func() corev1.NodeCondition { return b.node.Status.Conditions[1] }
		for n, cause := range []error{syscall.ENOSPC, syscall.EROFS} {
			reports := b.nodes
			b.setDisk(fmt.Errorf("store: %w: %d bytes are left", cause, n))
			settle(11 * time.Second)
			c := pressure()
			if c.Type != corev1.NodeDiskPressure || c.Status != corev1.ConditionTrue || c.Reason != "StoreUnwritable" || !strings.Contains(c.Message, "disk is") {
				t.Errorf("%v: %+v", cause, c)
			}
			since := c.LastTransitionTime
			b.setDisk(fmt.Errorf("store: %w: other bytes are left", cause))
			settle(10 * time.Minute)
			if c := pressure(); b.nodes != reports+1 || !c.LastTransitionTime.Equal(&since) {
				t.Errorf("%v: %d reports, %+v", cause, b.nodes-reports, c)
			}
			b.setDisk(nil)
			settle(11 * time.Second)
			if c := pressure(); b.nodes != reports+2 || c.Status != corev1.ConditionFalse {
				t.Errorf("%v is over: %d reports, %+v", cause, b.nodes-reports, c)
			}
		}
		// A report that was not stored is made again, although it is equal.
		b.stop()
		b.setDisk(syscall.EROFS)
		b.start()
		settle(time.Minute)
		reports := b.nodes
		b.setDisk(nil)
		settle(11 * time.Second)
		if c := pressure(); b.nodes != reports+1 || c.Status != corev1.ConditionFalse {
			t.Errorf("after a start: %d reports, %+v", b.nodes-reports, c)
		}
	})
}
