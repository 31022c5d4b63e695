package podspec

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/internal/podtest"
)

func newBuilder(p Policy) *Builder { return New(Config{Policy: p}) }

// machineOf is a node of cgroup v1 with that much memory.
func machineOf(memory int64) Node {
	return Node{Capacity: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI)}}
}

func TestResources(t *testing.T) {
	pod := podtest.New("Always", "a")
	c := &pod.Spec.Containers[0]
	if r := newBuilder(Policy{}).ContainerResources(pod, c, machineOf(1<<30)); QOSClass(pod) != "BestEffort" || r.OOMScoreAdj != 1000 || r.CPUShares != 2 || r.CPUQuota != 0 {
		t.Errorf("%+v", r)
	}
	c.Resources.Requests = podtest.Resources("cpu", "250m", "memory", "256Mi")
	if r := newBuilder(Policy{}).ContainerResources(pod, c, machineOf(1<<30)); QOSClass(pod) != "Burstable" || r.OOMScoreAdj != 750 || r.CPUShares != 256 || r.Memory != 0 {
		t.Errorf("%+v", r)
	}
	c.Resources.Limits = podtest.Resources("cpu", "250m", "memory", "256Mi")
	c.Resources.Limits["hugepages-2Mi"] = resource.MustParse("4Mi")
	if r := newBuilder(Policy{}).ContainerResources(pod, c, machineOf(1<<30)); QOSClass(pod) != "Guaranteed" || r.OOMScoreAdj != -997 || r.CPUQuota != 25000 || r.Memory != 256<<20 || r.HugePages["2MB"] != 4<<20 {
		t.Errorf("%+v", r)
	}
	init := podtest.New("Always", "init:i", "side:s", "init:j", "a")
	for i, cpu := range []string{"2", "1", "5"} {
		init.Spec.InitContainers[i].Resources.Requests = podtest.Resources("cpu", cpu, "memory", "0")
	}
	init.Spec.Containers[0].Resources.Requests = podtest.Resources("cpu", "3", "memory", "0")
	if q := Requests(init)["cpu"]; q.Value() != 6 { // the second init container beside the sidecar
		t.Errorf("pod asks for %s", q.String())
	}
}

// TestPodLevelResources bounds a pod as a whole where it has a cgroup of its own.
func TestPodLevelResources(t *testing.T) {
	pod := podtest.New("Always", "a", "b")
	pod.Spec.Containers[1].Resources = corev1.ResourceRequirements{Requests: podtest.Resources("memory", "64Mi"), Limits: podtest.Resources("memory", "128Mi")}
	pod.Spec.Resources = &corev1.ResourceRequirements{Requests: podtest.Resources("cpu", "100m", "memory", "192Mi"), Limits: podtest.Resources("cpu", "200m", "memory", "256Mi")}
	if l := newBuilder(Policy{}).PodLimits(pod, machineOf(1<<30)); l.Memory != 256<<20 || l.CPUQuota != 20000 || l.CPUShares != 102 {
		t.Errorf("limits of the pod: %+v", l)
	}
	if q := Requests(pod)[corev1.ResourceMemory]; q.Value() != 192<<20 {
		t.Errorf("the pod asks for %s", q.String())
	}
	a, b := newBuilder(Policy{}).ContainerResources(pod, &pod.Spec.Containers[0], machineOf(1<<30)), newBuilder(Policy{}).ContainerResources(pod, &pod.Spec.Containers[1], machineOf(1<<30))
	if a.Memory != 256<<20 || a.CPUQuota != 20000 || b.Memory != 128<<20 || b.CPUQuota != 20000 {
		t.Errorf("limits of the containers: %+v, %+v", a, b)
	}
	if a.OOMScoreAdj != 938 || b.OOMScoreAdj != 875 { // 1000 - 1000*64/1024, and twice that
		t.Errorf("scores %d, %d", a.OOMScoreAdj, b.OOMScoreAdj)
	}
	if q := ContainerAllocatable(pod, podtest.Resources("cpu", "4", "memory", "1Gi", "pods", "5"))[corev1.ResourceMemory]; q.Value() != 256<<20 {
		t.Errorf("a container may use %s", q.String())
	}
	if c := QOSClass(pod); c != corev1.PodQOSBurstable {
		t.Error(c)
	}
	pod.Spec.Resources.Requests = pod.Spec.Resources.Limits
	if c := QOSClass(pod); c != corev1.PodQOSGuaranteed {
		t.Error(c)
	}
}
