package edged_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/internal/hostinfo"
)

// smallDisk mounts a new ext4 of that many MiB, and skips where it cannot.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts a file system")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("no mkfs.ext4: ", err)
	}
	dir, err := os.MkdirTemp("/tmp", "edged-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	run := func(name string, args ...string) error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return nil
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run("mkfs.ext4", "-q", "-m", "0", image); err != nil {
		t.Fatal(err)
	}
	if err := run("mount", "-o", "loop", image, mnt); err != nil {
		t.Skip("no loop device: ", err)
	}
	t.Cleanup(func() {
		if err := run("umount", mnt); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

// onHost puts a pod into the host's network, so that it needs no network plugin.
func onHost(p *corev1.Pod) *corev1.Pod {
	p.Spec.HostNetwork = true
	return p
}

// data gives a pod's container an emptyDir volume.
func data(p *corev1.Pod, limit string) *corev1.Pod {
	e := &corev1.EmptyDirVolumeSource{}
	if limit != "" {
		q := resource.MustParse(limit)
		e.SizeLimit = &q
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: e}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	return p
}

// condition is a condition of the node; r.mu must be held.
func (r *realNode) condition(kind corev1.NodeConditionType) corev1.NodeCondition {
	if r.node != nil {
		for _, c := range r.node.Status.Conditions {
			if c.Type == kind {
				return c
			}
		}
	}
	return corev1.NodeCondition{}
}

// evicted reports whether a pod has ended so; r.mu must be held.
func (r *realNode) evicted(p *corev1.Pod) bool {
	st := r.status[p.UID]
	return st.Phase == corev1.PodFailed && st.Reason == "Evicted"
}

const waits = "trap 'exit 0' TERM; sleep 1000 & wait"

// TestRealFullDisk: a pod fills the node's disk and is evicted; a pod beside it stays.
// Both are so after a restart of the agent, too.
func TestRealFullDisk(t *testing.T) {
	if os.Getenv("EDGEKIT_CRI_SOCKET") == "" {
		t.Skip("EDGEKIT_CRI_SOCKET names no container runtime")
	}
	disk := smallDisk(t, 96)
	r := startRealWith(t, cri.Config{}, func(c *edged.Config) {
		c.Root, c.LogRoot, c.NodeCheck = filepath.Join(disk, "root"), filepath.Join(disk, "logs"), time.Second
		c.Eviction = edged.Eviction{Hard: map[string]string{"nodefs.available": "20%"}, PressureTransitionPeriod: 5 * time.Second}
	})
	modest := data(onHost(newPod("modest", busybox("dd if=/dev/zero of=/data/f bs=1M count=5; "+waits))), "")
	r.put(modest)
	r.wait(t, "the modest pod runs", realLimit, func() bool { return r.isReady(modest.UID) })
	greedy := data(onHost(newPod("greedy", busybox("dd if=/dev/zero of=/data/f bs=1M; "+waits))), "")
	began := time.Now()
	r.put(greedy)
	r.wait(t, "the greedy pod is evicted", realLimit, func() bool { return r.evicted(greedy) })
	t.Logf("evicted %s after it was created", time.Since(began).Round(100*time.Millisecond))
	r.wait(t, "the node has the condition", realLimit, func() bool { return r.condition(corev1.NodeDiskPressure).Status == corev1.ConditionTrue })
	late := onHost(newPod("late", busybox(waits)))
	r.put(late)
	r.wait(t, "a new pod is refused", realLimit, func() bool { return r.evicted(late) })
	r.wait(t, "the pressure is over", realLimit, func() bool { return r.condition(corev1.NodeDiskPressure).Status == corev1.ConditionFalse })
	r.wait(t, "an event says so", realLimit, func() bool {
		return slices.ContainsFunc(r.events, func(e string) bool { return strings.HasPrefix(e, "NodeHasNoDiskPressure: ") })
	})
	before := r.statusOf(greedy)
	if !strings.HasPrefix(before.Message, "The node was low on resource: ephemeral-storage. Threshold quantity: ") {
		t.Errorf("%q", before.Message)
	}
	r.stop()
	r.mu.Lock()
	reports := len(r.history[greedy.UID])
	r.mu.Unlock()
	r.start()
	r.wait(t, "the evicted pod is reported again", realLimit, func() bool { return len(r.history[greedy.UID]) > reports })
	after := r.statusOf(greedy)
	if after.Message != before.Message || after.Reason != before.Reason || after.Phase != before.Phase || !slices.EqualFunc(after.Conditions, before.Conditions, sameCondition) {
		t.Errorf("after a restart: %+v; before: %+v", after, before)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status[modest.UID].Phase != corev1.PodRunning {
		t.Errorf("the modest pod: %+v", r.status[modest.UID])
	}
	for _, reason := range []string{"EvictionThresholdMet: Attempting to reclaim ephemeral-storage", "NodeHasDiskPressure: ", "NodeHasNoDiskPressure: ", "Evicted: The node was low"} {
		if !slices.ContainsFunc(r.events, func(e string) bool { return strings.HasPrefix(e, reason) }) {
			t.Errorf("no event %q in %q", reason, r.events)
		}
	}
}

func (r *realNode) statusOf(p *corev1.Pod) corev1.PodStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status[p.UID]
}

func sameCondition(a, b corev1.PodCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}

// TestRealLimits: pods write more than their limits allow, into a volume, into their own
// file system, into their log. A pod within its limits stays.
func TestRealLimits(t *testing.T) {
	r := startRealWith(t, cri.Config{}, func(c *edged.Config) { c.NodeCheck = time.Second })
	bounded := func(p *corev1.Pod, limit string) *corev1.Pod {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
		return onHost(p)
	}
	keeps := data(bounded(newPod("keeps", busybox("dd if=/dev/zero of=/data/f bs=1M count=2; dd if=/dev/zero of=/f bs=1M count=2; "+waits)), "30Mi"), "10Mi")
	volume := data(onHost(newPod("volume", busybox("dd if=/dev/zero of=/data/f bs=1M count=15; "+waits))), "10Mi")
	layer := bounded(newPod("layer", busybox("dd if=/dev/zero of=/f bs=1M count=40; "+waits)), "30Mi")
	log := bounded(newPod("log", busybox("dd if=/dev/zero bs=1M count=10 | tr '\\0' x | head -c 10000000; "+waits)), "5Mi")
	for _, p := range []*corev1.Pod{keeps, volume, layer, log} {
		r.put(p)
	}
	for p, want := range map[*corev1.Pod]string{
		volume: `Usage of EmptyDir volume "data" exceeds the limit "10Mi". `,
		layer:  "Pod ephemeral local storage usage exceeds the total limit of containers 30Mi. ",
		log:    "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ",
	} {
		r.wait(t, p.Name+" is evicted", realLimit, func() bool { return r.evicted(p) })
		if st := r.statusOf(p); st.Message != want {
			t.Errorf("%s: %q", p.Name, st.Message)
		}
	}
	if st := r.statusOf(keeps); st.Phase != corev1.PodRunning {
		t.Errorf("%+v", st)
	}
	// The disk of an evicted pod is free again, although its API object still exists.
	left := func() (n int) {
		for _, p := range []*corev1.Pod{volume, layer, log} {
			list, err := r.runtime.ListContainers(t.Context(), string(p.UID))
			if err != nil {
				t.Fatal(err)
			}
			n += len(list)
		}
		return n
	}
	ctx, cancel := context.WithTimeout(t.Context(), realLimit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for left() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d containers of evicted pods are left", left())
		}
	}
}

// TestRealFullMemory gives all pods together a limit of memory, as a node that enforces
// its allocatable memory does. Before it is reached, the pod that takes most is evicted,
// and one that keeps to its request stays.
func TestRealFullMemory(t *testing.T) {
	if os.Getenv("EDGEKIT_CRI_SOCKET") == "" {
		t.Skip("EDGEKIT_CRI_SOCKET names no container runtime")
	}
	info, err := hostinfo.Fields("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	name := "edgekit-evict-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { removeGroups(t, name) })
	r := startRealWith(t, cri.Config{}, func(c *edged.Config) {
		c.CgroupRoot, c.NodeCheck = "/"+name, time.Second
		// All but 300 MiB of the machine.
		c.Resources.SystemReserved = corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(info["MemTotal:"]<<10-300<<20, resource.BinarySI)}
		c.Eviction = edged.Eviction{Hard: map[string]string{"memory.available": "150Mi"}, PressureTransitionPeriod: 5 * time.Second}
	})
	if driver, err := r.runtime.CgroupDriver(t.Context()); err != nil || driver != cri.DriverCgroupfs {
		t.Skipf("the runtime has the cgroup driver %q: the limit would be in another group (%v)", driver, err)
	}
	// dd fills its buffer and waits for a reader.
	takes := func(mib int) string {
		return fmt.Sprintf("trap 'exit 0' TERM; dd if=/dev/zero bs=%dM count=1 | sleep 1000 & wait", mib)
	}
	modest := onHost(newPod("modest", busybox(takes(20))))
	modest.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100Mi")}
	r.put(modest)
	r.wait(t, "the modest pod runs", realLimit, func() bool { return r.isReady(modest.UID) })
	greedy := onHost(newPod("greedy", busybox(takes(180))))
	r.put(greedy)
	r.wait(t, "the greedy pod is evicted", realLimit, func() bool { return r.evicted(greedy) })
	st := r.statusOf(greedy)
	if !strings.HasPrefix(st.Message, "The node was low on resource: memory. Threshold quantity: 150Mi, available: ") || !strings.Contains(st.Message, "Container main was using ") {
		t.Errorf("%q", st.Message)
	}
	t.Log(st.Message)
	if !slices.ContainsFunc(st.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Reason == corev1.PodReasonTerminationByKubelet
	}) {
		t.Errorf("%+v", st.Conditions)
	}
	if c := st.ContainerStatuses[0].State.Terminated; c == nil || c.Reason == "OOMKilled" {
		t.Errorf("the kernel was faster: %+v", st.ContainerStatuses[0].State)
	}
	r.wait(t, "the pressure is over", realLimit, func() bool { return r.condition(corev1.NodeMemoryPressure).Status == corev1.ConditionFalse })
	if st := r.statusOf(modest); st.Phase != corev1.PodRunning {
		t.Errorf("the modest pod: %+v", st)
	}
}

// removeGroups removes the cgroups that a test made below the root, in every hierarchy.
func removeGroups(t *testing.T, name string) {
	t.Helper()
	tops, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range append(tops, filepath.Join("/sys/fs/cgroup", name)) {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs)
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	}
}
