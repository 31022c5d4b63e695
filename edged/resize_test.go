package edged_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
)

func asking(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

func (b *bench) resizeCondition(uid types.UID) *corev1.PodCondition {
	b.mu.Lock()
	defer b.mu.Unlock()
	conditions := b.status[uid].Conditions
	if i := slices.IndexFunc(conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodResizePending }); i >= 0 {
		return &conditions[i]
	}
	return nil
}

// withoutResize is a runtime that cannot change containers.
type withoutResize struct{ runtime.Runtime }

// TestResizeIsInfeasible resizes a running pod under a runtime that cannot: nothing
// changes, and the status says so until the spec is what the pod was granted again.
// Neither a crash of the container nor a restart of the agent changes that.
func TestResizeIsInfeasible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.edit = func(cfg *edged.Config) { cfg.Runtime = withoutResize{b.rt} }
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		p.Spec.Containers[0].Resources = asking("100m", "64Mi")
		b.put(p)
		settle(time.Second)
		if c := b.resizeCondition(p.UID); c != nil {
			t.Fatalf("a new pod has %+v", c)
		}
		was := p.Spec.Containers[0].Resources
		check := func(when string) {
			t.Helper()
			st := b.container(p.UID)
			if st.Resources == nil || st.AllocatedResources.Cpu().MilliValue() != 100 || st.AllocatedResources.Memory().Value() != 64<<20 ||
				st.Resources.Limits.Memory().Value() != 64<<20 || st.Resources.Requests.Cpu().MilliValue() != 100 {
				t.Errorf("%s: status has %v, allocated %v", when, st.Resources, st.AllocatedResources)
			}
			c := b.resizeCondition(p.UID)
			if c == nil || c.Status != corev1.ConditionTrue || c.Reason != corev1.PodReasonInfeasible || c.ObservedGeneration != 2 || !strings.Contains(c.Message, "delete the pod") {
				t.Errorf("%s: the condition is %+v", when, c)
			}
			if n := b.happened("ResizeInfeasible"); n != 1 {
				t.Errorf("%s: %d events", when, n)
			}
			if cfg := b.rt.Configs(); cfg[len(cfg)-1].Resources.Memory != 64<<20 || cfg[len(cfg)-1].Resources.CPUQuota != 10000 {
				t.Errorf("%s: the container has %+v", when, cfg[len(cfg)-1].Resources)
			}
		}
		p.Spec.Containers[0].Resources = asking("400m", "128Mi")
		p.Generation = 2
		b.put(p)
		settle(time.Second)
		check("after the resize")
		b.rt.Exit("main", 1)
		settle(time.Minute)
		if b.container(p.UID).RestartCount != 1 {
			t.Fatal("the container did not restart")
		}
		check("after a crash")
		b.mu.Lock()
		before := b.status[p.UID]
		b.mu.Unlock()
		b.stop()
		b.start()
		settle(time.Minute)
		check("after a restart of the agent")
		b.mu.Lock()
		after := b.status[p.UID]
		b.mu.Unlock()
		if !reflect.DeepEqual(before.Conditions, after.Conditions) {
			t.Errorf("a restart of the agent changed the conditions from %+v to %+v", before.Conditions, after.Conditions)
		}
		p.Spec.Containers[0].Resources = was
		p.Generation = 3
		b.put(p)
		settle(time.Second)
		if c := b.resizeCondition(p.UID); c != nil {
			t.Errorf("nothing differs, and the condition is %+v", c)
		}
	})
}

// TestRecursiveReadOnly has a mount read-only with all below it where the runtime
// can, and reports what is.
func TestRecursiveReadOnly(t *testing.T) {
	possible, enabled := corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled
	for _, can := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			health, _ := b.rt.Health(t.Context())
			health.Features.RecursiveReadOnlyMounts = can
			b.rt.SetHealth(health)
			b.start()
			defer func() { b.stop() }()
			for name, mode := range map[string]*corev1.RecursiveReadOnlyMode{"perhaps": &possible, "surely": &enabled} {
				p := newPod(name, busybox("serve"))
				p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
				p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", ReadOnly: true, RecursiveReadOnly: mode}}
				b.put(p)
			}
			settle(time.Second)
			st := b.container("perhaps-uid")
			want := map[bool]corev1.RecursiveReadOnlyMode{false: corev1.RecursiveReadOnlyDisabled, true: corev1.RecursiveReadOnlyEnabled}[can]
			if len(st.VolumeMounts) != 1 || *st.VolumeMounts[0].RecursiveReadOnly != want {
				t.Errorf("runtime that can: %t: IfPossible gives %+v", can, st.VolumeMounts)
			}
			if runs := b.container("surely-uid").State.Running != nil; runs != can {
				t.Errorf("runtime that can: %t: Enabled runs: %t", can, runs)
			}
		})
	}
}

// TestRelabel lets the runtime give the pod's SELinux label to the files that
// are the pod's alone, never to those of the host.
func TestRelabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		p.Spec.Volumes = []corev1.Volume{
			{Name: "own", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: t.TempDir()}}},
		}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "own", MountPath: "/own"}, {Name: "host", MountPath: "/host"}}
		b.put(p)
		settle(time.Second)
		want := map[string]bool{"/own": true, "/host": false, "/etc/hosts": true, corev1.TerminationMessagePathDefault: true}
		for _, m := range b.rt.Configs()[0].Mounts {
			if label, known := want[m.ContainerPath]; !known || m.Relabel != label {
				t.Errorf("%s: relabel %t", m.ContainerPath, m.Relabel)
			}
		}
	})
}

// TestInvalidHook fails a hook of a kind that Kubernetes does not run.
func TestInvalidHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{}}}
		b.put(p)
		settle(time.Second)
		if b.happened("FailedPostStartHook") == 0 {
			t.Errorf("events %q", b.seen())
		}
	})
}

// ownCgroups is a runtime under which the agent makes the pods' cgroups.
type ownCgroups struct{ runtime.Runtime }

func (ownCgroups) CgroupDriver(context.Context) (string, error) { return "cgroupfs", nil }

// TestPodWithoutItsLimit does not run a pod that limits itself as a whole where
// its cgroup cannot be limited. Another pod runs: its containers have limits of
// their own.
func TestPodWithoutItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cfg := b.config()
		cfg.Runtime, cfg.CgroupRoot = ownCgroups{b.rt}, "no\x00cgroup"
		b.startWith(cfg)
		defer func() { b.stop() }()
		limited, other := newPod("limited", busybox("serve")), newPod("other", busybox("serve"))
		whole := asking("100m", "64Mi")
		limited.Spec.Resources = &whole
		b.put(limited)
		b.put(other)
		settle(time.Minute)
		if b.container(other.UID).State.Running == nil {
			t.Errorf("a pod without such a limit: %+v", b.container(other.UID).State)
		}
		if b.container(limited.UID).State.Running != nil || b.phase(limited.UID) != corev1.PodPending || b.happened("FailedCreatePodContainer") == 0 {
			t.Errorf("a pod whose limit cannot be set: %+v, events %q", b.container(limited.UID).State, b.seen())
		}
	})
}
