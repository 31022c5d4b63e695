package edged_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/internal/podtest"
)

// realRoot is the cgroup that the pods of these tests are below: others on this
// machine have their own.
const realRoot = "edgekitreal"

// startRealBelow is startReal with cgroups below realRoot, which the test's end
// removes, and with other settings.
func startRealBelow(t *testing.T, settings edged.Resources) *realNode {
	t.Cleanup(func() { // after the pods are gone
		for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			for _, below := range []string{"/kubepods/*", "/kubepods", ""} {
				dirs, _ := filepath.Glob(filepath.Join(top, realRoot+below))
				for _, dir := range dirs {
					_ = os.Remove(dir)
				}
			}
		}
	})
	r := startReal(t)
	r.stop()
	r.cfg.CgroupRoot, r.cfg.Resources = "/"+realRoot, settings
	r.start()
	return r
}

// groupFiles finds a file of all groups below a pod's, by its names in cgroup v1 and
// v2: "" is the pod's own, the others are its sandbox's and its containers'.
func groupFiles(t *testing.T, uid types.UID, v1, v2 string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	slice := strings.ReplaceAll(string(uid), "-", "_")
	controller, _, _ := strings.Cut(v1, ".")
	for _, top := range []string{"/sys/fs/cgroup/" + controller, "/sys/fs/cgroup"} {
		for _, below := range []string{
			"/" + realRoot + "/kubepods/*/pod" + string(uid), "/" + realRoot + ".slice/*/*/*-pod" + slice + ".slice",
			"/" + realRoot + "/kubepods/pod" + string(uid), "/" + realRoot + ".slice/*/*-pod" + slice + ".slice", // Guaranteed ones
		} {
			pods, err := filepath.Glob(top + below)
			if err != nil {
				t.Fatal(err)
			}
			for _, pod := range pods {
				for _, name := range []string{v1, v2} {
					files, _ := filepath.Glob(filepath.Join(pod, "*", name))
					for _, file := range append(files, filepath.Join(pod, name)) {
						if text, err := os.ReadFile(file); err == nil {
							out[strings.TrimPrefix(filepath.Dir(file), pod)] = strings.TrimSpace(string(text))
						}
					}
				}
			}
		}
	}
	return out
}

// TestRealResize resizes a pod that runs, up and down, and reads from the kernel what
// came of it. Memory is not taken away that is in use.
func TestRealResize(t *testing.T) {
	r := startRealBelow(t, edged.Resources{})
	p := newPod("resized", busybox("trap 'exit 0' TERM; dd if=/dev/zero of=/tmp/f bs=1M count=1; sleep 1000 & wait"))
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: podtest.Resources("cpu", "100m", "memory", "32Mi"), Limits: podtest.Resources("cpu", "200m", "memory", "64Mi")}
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
		Name: "other", Image: "busybox", ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"},
		ResizePolicy: []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}},
		Resources:    corev1.ResourceRequirements{Requests: podtest.Resources("cpu", "50m", "memory", "16Mi"), Limits: podtest.Resources("cpu", "50m", "memory", "16Mi")},
	})
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	has := func(v1, v2, pod, container string) bool {
		files := groupFiles(t, p.UID, v1, v2)
		found := false
		for group, text := range files {
			found = found || group != "" && text == container
		}
		return found && files[""] == pod
	}
	check := func(when string, memoryPod, memory, quotaPod, quota int64) {
		t.Helper()
		if !has("memory.limit_in_bytes", "memory.max", fmt.Sprint(memoryPod), fmt.Sprint(memory)) {
			t.Errorf("%s: memory %v, want %d, %d in the container", when, groupFiles(t, p.UID, "memory.limit_in_bytes", "memory.max"), memoryPod, memory)
		}
		if !has("cpu.cfs_quota_us", "-", fmt.Sprint(quotaPod), fmt.Sprint(quota)) && !has("cpu.-", "cpu.max", fmt.Sprintf("%d 100000", quotaPod), fmt.Sprintf("%d 100000", quota)) {
			t.Errorf("%s: quota %v, want %d, %d in the container", when, groupFiles(t, p.UID, "cpu.cfs_quota_us", "cpu.max"), quotaPod, quota)
		}
	}
	check("made", 80<<20, 64<<20, 25000, 20000)
	containers := func() map[string]string {
		out := make(map[string]string)
		for _, c := range r.status[p.UID].ContainerStatuses {
			out[c.Name] = c.ContainerID
		}
		return out
	}
	r.mu.Lock()
	before := containers()
	r.mu.Unlock()

	resizeTo := func(generation int64, c int, requests, limits corev1.ResourceList) {
		p = p.DeepCopy()
		p.Generation = generation
		p.Spec.Containers[c].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
		r.put(p)
	}
	completed := func(generation int64) func() bool {
		return func() bool {
			st := r.status[p.UID]
			return st.ObservedGeneration == generation && slices.ContainsFunc(r.events, func(e string) bool {
				return strings.HasPrefix(e, "ResizeCompleted: ") && strings.Contains(e, fmt.Sprintf(`"generation":%d`, generation))
			}) && !slices.ContainsFunc(st.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodResizeInProgress || c.Type == corev1.PodResizePending
			})
		}
	}
	resizeTo(2, 0, podtest.Resources("cpu", "200m", "memory", "64Mi"), podtest.Resources("cpu", "400m", "memory", "128Mi"))
	r.wait(t, "resized up", realLimit, completed(2))
	check("up", 144<<20, 128<<20, 45000, 40000)
	resizeTo(3, 0, podtest.Resources("cpu", "100m", "memory", "32Mi"), podtest.Resources("cpu", "100m", "memory", "48Mi"))
	r.wait(t, "resized down", realLimit, completed(3))
	check("down", 64<<20, 48<<20, 15000, 10000)
	r.mu.Lock()
	st, after := r.status[p.UID], containers()
	r.mu.Unlock()
	if after["main"] != before["main"] || after["other"] != before["other"] {
		t.Errorf("a container restarted: %v, then %v", before, after)
	}
	main := st.ContainerStatuses[0]
	if main.Resources.Limits.Memory().Value() != 48<<20 || main.Resources.Limits.Cpu().MilliValue() != 100 || main.AllocatedResources.Memory().Value() != 32<<20 {
		t.Errorf("status %+v, allocated %v", main.Resources, main.AllocatedResources)
	}

	// The agent restarts: nothing changes.
	r.stop()
	r.start()
	r.wait(t, "reported again", realLimit, func() bool { return len(r.history[p.UID]) > 0 && r.isReady(p.UID) })
	check("after a restart of the agent", 64<<20, 48<<20, 15000, 10000)

	// More than 48 MiB cannot be below what is used: two MiB are.
	resizeTo(4, 0, podtest.Resources("cpu", "100m", "memory", "64Ki"), podtest.Resources("cpu", "100m", "memory", "64Ki"))
	r.wait(t, "refused", realLimit, func() bool {
		return slices.ContainsFunc(r.status[p.UID].Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodResizeInProgress && c.Reason == corev1.PodReasonError && strings.Contains(c.Message, "cannot decrease memory limits") && c.ObservedGeneration == 4
		})
	})
	check("refused", 64<<20, 48<<20, 15000, 10000)
	resizeTo(5, 0, podtest.Resources("cpu", "100m", "memory", "32Mi"), podtest.Resources("cpu", "100m", "memory", "48Mi"))
	r.wait(t, "taken back", realLimit, completed(5))

	// A container whose policy says so restarts, and has it then.
	resizeTo(6, 1, podtest.Resources("cpu", "50m", "memory", "32Mi"), podtest.Resources("cpu", "50m", "memory", "32Mi"))
	r.wait(t, "restarted", realLimit, func() bool {
		return completed(6)() && containers()["other"] != before["other"] && r.isReady(p.UID)
	})
	check("restarted", 80<<20, 32<<20, 15000, 5000)
	r.mu.Lock()
	after = containers()
	r.mu.Unlock()
	if after["main"] != before["main"] {
		t.Error("the other container restarted too")
	}
	r.del(p, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
	if left := groupFiles(t, p.UID, "memory.limit_in_bytes", "memory.max"); len(left) > 0 {
		t.Errorf("groups are left: %v", left)
	}
}

// TestRealNodeCgroups limits all pods together to what is not reserved, divides the
// CPU between the classes, and bounds a pod's processes.
func TestRealNodeCgroups(t *testing.T) {
	r := startRealBelow(t, edged.Resources{SystemReserved: podtest.Resources("memory", "256Mi", "pid", "100"), KubeReserved: podtest.Resources("memory", "256Mi"), PodPidsLimit: 77})
	p := newPod("burst", busybox("trap 'exit 0' TERM; sleep 1000 & wait"))
	p.Spec.Containers[0].Resources.Requests = podtest.Resources("cpu", "250m")
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	r.mu.Lock()
	capacity, allocatable := r.node.Status.Capacity.Memory().Value(), r.node.Status.Allocatable.Memory().Value()
	r.mu.Unlock()
	if capacity-allocatable != 512<<20 {
		t.Errorf("of %d bytes %d can be allocated", capacity, allocatable)
	}
	driver, err := r.runtime.CgroupDriver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func(controller, file string, group ...string) string {
		var path string
		group = append([]string{realRoot}, group...)
		for i, part := range group {
			if driver == cri.DriverSystemd {
				part = strings.Join(group[:i+1], "-") + ".slice"
			}
			path = filepath.Join(path, part)
		}
		for _, top := range []string{"/sys/fs/cgroup/" + controller, "/sys/fs/cgroup"} {
			if text, err := os.ReadFile(filepath.Join(top, path, file)); err == nil {
				return strings.TrimSpace(string(text))
			}
		}
		return ""
	}
	page := int64(os.Getpagesize())
	want := fmt.Sprint((capacity - 512<<20) / page * page)
	r.wait(t, "limits of the groups", realLimit, func() bool {
		node := read("memory", "memory.limit_in_bytes", "kubepods") + read("memory", "memory.max", "kubepods")
		burstable := read("cpu", "cpu.shares", "kubepods", "burstable") + read("cpu", "cpu.weight", "kubepods", "burstable")
		effort := read("cpu", "cpu.shares", "kubepods", "besteffort") + read("cpu", "cpu.weight", "kubepods", "besteffort")
		return node == want && (burstable == "256" && effort == "2" || burstable == "10" && effort == "1")
	})
	if pids := groupFiles(t, p.UID, "pids.max", "pids.max")[""]; pids != "77" {
		t.Errorf("the pod may have %q processes", pids)
	}
	if !slices.ContainsFunc(r.events, func(e string) bool { return strings.HasPrefix(e, "NodeAllocatableEnforced: ") }) {
		t.Errorf("events %q", r.events)
	}
	r.del(p, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
}
