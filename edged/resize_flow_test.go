package edged_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
)

// conditionOf is a condition of a pod; nil if it has none of that type.
func (b *bench) conditionOf(uid types.UID, kind corev1.PodConditionType) *corev1.PodCondition {
	b.mu.Lock()
	defer b.mu.Unlock()
	conditions := b.status[uid].Conditions
	if i := slices.IndexFunc(conditions, func(c corev1.PodCondition) bool { return c.Type == kind }); i >= 0 {
		return &conditions[i]
	}
	return nil
}

// resized gives a pod a new spec, of the next generation.
func (b *bench) resized(p *corev1.Pod, r corev1.ResourceRequirements) *corev1.Pod {
	p = p.DeepCopy()
	p.Generation++
	p.Spec.Containers[0].Resources = r
	b.put(p)
	return p
}

// calls counts the calls of the runtime that begin so.
func (b *bench) calls(prefix string) int {
	n := 0
	for _, c := range b.rt.Calls() {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// restartAgent ends the agent and starts another. The status that it reports must be
// that from before.
func (b *bench) restartAgent(uid types.UID) {
	b.t.Helper()
	b.mu.Lock()
	before := b.status[uid]
	b.mu.Unlock()
	b.stop()
	b.start()
	settle(10 * time.Second)
	b.mu.Lock()
	after := b.status[uid]
	b.mu.Unlock()
	if !equality.Semantic.DeepEqual(before, after) {
		b.t.Errorf("a restart of the agent changed the status from %+v to %+v", before, after)
	}
}

// TestResize gives a running container more, and less: it does not restart, the
// status is true, also after restarts of the agent and of the container.
func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := b.running(asking("100m", "64Mi"))
		has := func(when string, cpu, memory int64) {
			t.Helper()
			st := b.container(p.UID)
			if st.Resources.Limits.Cpu().MilliValue() != cpu || st.Resources.Limits.Memory().Value() != memory<<20 || st.Resources.Requests.Memory().Value() != memory<<20 ||
				st.AllocatedResources.Cpu().MilliValue() != cpu || st.AllocatedResources.Memory().Value() != memory<<20 {
				t.Errorf("%s: status has %+v, allocated %v", when, st.Resources, st.AllocatedResources)
			}
			configs := b.rt.Configs()
			if r := configs[len(configs)-1].Resources; r.Memory != memory<<20 || r.CPUQuota != cpu*100 || r.CPUShares != cpu*1024/1000 {
				t.Errorf("%s: the container has %+v", when, r)
			}
			for _, kind := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress} {
				if c := b.conditionOf(p.UID, kind); c != nil {
					t.Errorf("%s: %+v", when, c)
				}
			}
		}
		has("made", 100, 64)
		p = b.resized(p, asking("400m", "128Mi"))
		settle(time.Second)
		has("more", 400, 128)
		p = b.resized(p, asking("200m", "32Mi"))
		settle(time.Second)
		has("less", 200, 32)
		b.mu.Lock()
		progress := slices.ContainsFunc(b.history[p.UID], func(st corev1.PodStatus) bool {
			return slices.ContainsFunc(st.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodResizeInProgress && c.ObservedGeneration == 2 && c.Reason == ""
			})
		})
		b.mu.Unlock()
		if !progress {
			t.Error("it was never in progress")
		}
		if started, done := b.happened("ResizeStarted"), b.happened("ResizeCompleted"); started != 2 || done != 2 {
			t.Errorf("%d started, %d completed: %q", started, done, b.seen())
		}
		updates := b.calls("UpdateContainerResources")
		b.restartAgent(p.UID)
		if n := b.calls("UpdateContainerResources"); n != updates {
			t.Errorf("a restart of the agent resized again, %d times", n-updates)
		}
		if n := b.container(p.UID).RestartCount; n != 0 {
			t.Errorf("the container restarted %d times", n)
		}
		b.rt.Exit("main", 1)
		settle(time.Minute)
		has("after a crash", 200, 32)
		b.restartAgent(p.UID)
	})
}

// TestResizeRestarts restarts a container whose resizePolicy says so, and not for a
// resource of which it does not.
func TestResizeRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		p.Spec.Containers[0].Resources = asking("100m", "64Mi")
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
		b.put(p)
		settle(time.Second)
		p = b.resized(p, asking("200m", "64Mi"))
		settle(time.Second)
		if st := b.container(p.UID); st.RestartCount != 0 || st.Resources.Limits.Cpu().MilliValue() != 200 {
			t.Errorf("cpu: %+v", st)
		}
		p = b.resized(p, asking("200m", "128Mi"))
		settle(time.Minute)
		if st := b.container(p.UID); st.RestartCount != 1 || st.State.Running == nil || st.Resources.Limits.Memory().Value() != 128<<20 {
			t.Errorf("memory: %+v", st)
		}
		// Also to less than it uses: it starts anew.
		b.rt.SetMemoryUsage("main", 100<<20)
		p = b.resized(p, asking("200m", "32Mi"))
		settle(time.Minute)
		if st := b.container(p.UID); st.RestartCount != 2 || st.State.Running == nil || st.Resources.Limits.Memory().Value() != 32<<20 {
			t.Errorf("less memory: %+v", st)
		}
		if n, failed := b.happened("ResizeCompleted"), b.happened("ResizeError"); n != 3 || failed > 0 || b.calls("UpdateContainerResources") != 1 {
			t.Errorf("%d completed, %d failed: %q, %q", n, failed, b.seen(), b.rt.Calls())
		}
		if !slices.ContainsFunc(b.seen(), func(e string) bool { return strings.Contains(e, "Container main resize requires restart") }) {
			t.Errorf("events %q", b.seen())
		}
	})
}

// TestResizeDeferred has no room for a change until another pod goes. The change is
// reported once, kept over a restart of the agent, and then made.
func TestResizeDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		settle(time.Second)
		b.mu.Lock()
		cpu := b.node.Status.Allocatable.Cpu().MilliValue()
		b.mu.Unlock()
		large := newPod("large", busybox("serve"))
		large.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(cpu-200, resource.DecimalSI)}
		b.put(large)
		p := b.running(asking("100m", "64Mi"))
		p = b.resized(p, asking("300m", "64Mi"))
		settle(time.Second)
		check := func(when string) {
			t.Helper()
			c := b.conditionOf(p.UID, corev1.PodResizePending)
			want := fmt.Sprintf("Node didn't have enough resource: cpu, requested: 300, used: %d, capacity: %d", cpu-200, cpu)
			if c == nil || c.Reason != corev1.PodReasonDeferred || c.Message != want || c.ObservedGeneration != 2 {
				t.Fatalf("%s: %+v", when, c)
			}
			if st := b.container(p.UID); st.AllocatedResources.Cpu().MilliValue() != 100 || st.Resources.Limits.Cpu().MilliValue() != 100 {
				t.Errorf("%s: %+v", when, st)
			}
			if n := b.happened("ResizeDeferred"); n != 1 {
				t.Errorf("%s: %d events", when, n)
			}
		}
		check("no room")
		settle(10 * time.Minute)
		check("later")
		b.restartAgent(p.UID)
		check("after a restart of the agent")
		b.rt.KillSandboxes()
		settle(time.Minute)
		check("after a reboot")
		b.del(large, 1)
		settle(time.Minute)
		if c := b.conditionOf(p.UID, corev1.PodResizePending); c != nil {
			t.Errorf("there is room: %+v", c)
		}
		if st := b.container(p.UID); st.AllocatedResources.Cpu().MilliValue() != 300 || st.Resources.Limits.Cpu().MilliValue() != 300 {
			t.Errorf("there is room: %+v", st)
		}
	})
}

// TestResizeError shows why a change cannot be made, tries again with a pause, and
// goes on when it can.
func TestResizeError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := b.running(asking("100m", "64Mi"))
		var tries atomic.Int64
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "UpdateContainerResources") {
				tries.Add(1)
				return errors.New("the kernel says no")
			}
			return nil
		})
		p = b.resized(p, asking("100m", "128Mi"))
		settle(10 * time.Minute)
		c := b.conditionOf(p.UID, corev1.PodResizeInProgress)
		if c == nil || c.Reason != corev1.PodReasonError || !strings.Contains(c.Message, "the kernel says no") || c.ObservedGeneration != 2 {
			t.Errorf("%+v", c)
		}
		if n := tries.Load(); n < 10 || n > 25 {
			t.Errorf("%d tries in ten minutes", n)
		}
		if n := b.happened("ResizeError"); n != 1 {
			t.Errorf("%d events", n)
		}
		st := b.container(p.UID)
		if st.AllocatedResources.Memory().Value() != 128<<20 || st.Resources.Limits.Memory().Value() != 64<<20 {
			t.Errorf("status %+v, allocated %v", st.Resources, st.AllocatedResources)
		}
		b.restartAgent(p.UID)
		b.rt.FailWith(nil)
		settle(2 * time.Minute)
		if c := b.conditionOf(p.UID, corev1.PodResizeInProgress); c != nil || b.happened("ResizeCompleted") != 1 {
			t.Errorf("it can be made now: %+v, events %q", c, b.seen())
		}
	})
}

// TestResizeBelowUsage takes no memory away that is in use.
func TestResizeBelowUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := b.running(asking("100m", "128Mi"))
		b.rt.SetMemoryUsage("main", 100<<20)
		p = b.resized(p, asking("100m", "64Mi"))
		settle(5 * time.Second)
		want := fmt.Sprintf(`cannot decrease memory limits: attempting to set container "main" memory limit (%d) below current usage (%d)`, 64<<20, 100<<20)
		if c := b.conditionOf(p.UID, corev1.PodResizeInProgress); c == nil || c.Reason != corev1.PodReasonError || c.Message != want {
			t.Errorf("%+v", c)
		}
		if n := b.calls("UpdateContainerResources"); n > 0 {
			t.Errorf("%d changes", n)
		}
		b.rt.SetMemoryUsage("main", 10<<20)
		settle(2 * time.Minute)
		if st := b.container(p.UID); st.Resources.Limits.Memory().Value() != 64<<20 || b.conditionOf(p.UID, corev1.PodResizeInProgress) != nil {
			t.Errorf("memory is free: %+v", st)
		}
	})
}

// TestResizeTakenBack asks for more than there is, and then for what there was.
func TestResizeTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := b.running(asking("100m", "64Mi"))
		p = b.resized(p, asking("5k", "64Mi"))
		settle(time.Second)
		if c := b.conditionOf(p.UID, corev1.PodResizePending); c == nil || c.Reason != corev1.PodReasonDeferred {
			t.Errorf("%+v", c)
		}
		p = b.resized(p, asking("100m", "64Mi"))
		settle(time.Second)
		if c := b.conditionOf(p.UID, corev1.PodResizePending); c != nil || b.calls("UpdateContainerResources") > 0 {
			t.Errorf("%+v", c)
		}
	})
}

// TestResourcesRefused refuses settings that cannot be meant.
func TestResourcesRefused(t *testing.T) {
	negative := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("-1")}
	for want, r := range map[string]edged.Resources{
		"SystemReserved: cpu is -1":  {SystemReserved: negative},
		"KubeReserved: \"pods\"":     {KubeReserved: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}},
		"PodPidsLimit":               {PodPidsLimit: -2},
		"CPUCFSQuotaPeriod":          {CPUCFSQuotaPeriod: time.Minute},
		"MemoryThrottlingFactor":     {MemoryThrottlingFactor: 1.1},
		"MemoryReservation":          {MemoryReservation: "Some"},
		"SwapBehavior":               {SwapBehavior: "UnlimitedSwap"},
		"needs SystemReservedCgroup": {EnforceNodeAllocatable: []edged.Enforcement{edged.EnforcePods, edged.EnforceSystemReserved}},
		"needs KubeReservedCgroup":   {EnforceNodeAllocatable: []edged.Enforcement{edged.EnforceKubeReservedCompressible}},
		"none stands alone":          {EnforceNodeAllocatable: []edged.Enforcement{edged.EnforceNone, edged.EnforcePods}},
		"pods twice":                 {EnforceNodeAllocatable: []edged.Enforcement{edged.EnforcePods, edged.EnforcePods}},
		"not both":                   {KubeReservedCgroup: "/k", EnforceNodeAllocatable: []edged.Enforcement{edged.EnforceKubeReserved, edged.EnforceKubeReservedCompressible}},
		`"everything" is none of`:    {EnforceNodeAllocatable: []edged.Enforcement{"everything"}},
	} {
		cfg := newBench(t).config()
		cfg.Resources = r
		if _, err := edged.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	cfg := newBench(t).config()
	cfg.Resources.SystemReserved = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("900Ti")}
	agent, err := edged.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "reserve less") {
		t.Errorf("more than the machine has: %v", err)
	}
}

// running runs a pod with such resources.
func (b *bench) running(r corev1.ResourceRequirements) *corev1.Pod {
	p := newPod("web", busybox("serve"))
	p.Spec.Containers[0].Resources = r
	b.put(p)
	settle(time.Second)
	return p
}
