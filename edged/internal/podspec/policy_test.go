package podspec

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podtest"
)

// burstable is a pod of one container that requests and limits memory and cpu.
func burstable(requests, limits corev1.ResourceList) *corev1.Pod {
	pod := podtest.New("Always", "a")
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	return pod
}

// TestSwap bounds the swap of containers as KEP-2400 has it, on both versions of
// cgroups.
func TestSwap(t *testing.T) {
	v1, v2 := machineOf(1<<30), machineOf(1<<30)
	v1.SwapLimited, v2.SwapLimited, v2.CgroupV2, v2.Swap = true, true, true, 512<<20
	without := v2
	without.SwapLimited = false
	some := burstable(podtest.Resources("memory", "256Mi"), podtest.Resources("memory", "512Mi"))
	critical := burstable(podtest.Resources("memory", "256Mi"), podtest.Resources("memory", "512Mi"))
	critical.Spec.Priority = new(int32)
	*critical.Spec.Priority = 2_000_000_000
	for name, tt := range map[string]struct {
		pod     *corev1.Pod
		limited bool
		node    Node
		v1      int64
		v2      string
	}{
		"none, version 1":                       {some, false, v1, 512 << 20, ""},
		"none, version 1, no limit":             {podtest.New("Always", "a"), false, v1, 0, ""},
		"limited counts only with version 2":    {some, true, v1, 512 << 20, ""},
		"none":                                  {some, false, v2, 0, "0"},
		"none, no limit":                        {podtest.New("Always", "a"), false, v2, 0, "0"},
		"the kernel does not count swap":        {some, true, without, 0, ""},
		"limited, by its part of the memory":    {some, true, v2, 0, "134217728"},
		"limited, BestEffort":                   {podtest.New("Always", "a"), true, v2, 0, "0"},
		"limited, critical":                     {critical, true, v2, 0, "0"},
		"limited, request as large as limit":    {burstable(podtest.Resources("memory", "1Mi", "cpu", "1"), podtest.Resources("memory", "1Mi")), true, v2, 0, "0"},
		"limited, Guaranteed":                   {burstable(nil, podtest.Resources("memory", "1Mi", "cpu", "1")), true, v2, 0, "0"},
		"limited, more than the machine's size": {burstable(podtest.Resources("memory", "2Gi"), nil), true, v2, 0, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newBuilder(Policy{LimitedSwap: tt.limited}).ContainerResources(tt.pod, &tt.pod.Spec.Containers[0], tt.node)
			if r.MemorySwap != tt.v1 || r.Unified[swapMax] != tt.v2 {
				t.Errorf("memory and swap %d, %s %q; want %d and %q", r.MemorySwap, swapMax, r.Unified[swapMax], tt.v1, tt.v2)
			}
		})
	}
}

// TestMemoryQoS protects and throttles memory as KEP-2570 has it.
func TestMemoryQoS(t *testing.T) {
	v2 := machineOf(1 << 30)
	v2.CgroupV2, v2.Allocatable = true, podtest.Resources("memory", "1000Mi", "cpu", "2")
	some := burstable(podtest.Resources("memory", "100Mi"), podtest.Resources("memory", "200Mi"))
	guaranteed := burstable(podtest.Resources("memory", "100Mi", "cpu", "1"), podtest.Resources("memory", "100Mi", "cpu", "1"))
	whole := podtest.New("Always", "a")
	whole.Spec.Resources = &corev1.ResourceRequirements{Requests: podtest.Resources("memory", "100Mi"), Limits: podtest.Resources("memory", "200Mi")}
	zero := map[string]string{oomGroup: "1", memoryMin: "0", memoryLow: "0"}
	for name, tt := range map[string]struct {
		pod            *corev1.Pod
		policy         Policy
		container, all map[string]string
	}{
		"as a kubelet without settings": {some, Policy{}, zero, nil},
		"throttled":                     {some, Policy{MemoryThrottling: 0.9}, map[string]string{oomGroup: "1", memoryMin: "0", memoryLow: "0", memoryHigh: "199229440"}, nil},
		"throttled without a limit":     {podtest.New("Always", "a"), Policy{MemoryThrottling: 0.5}, map[string]string{oomGroup: "1", memoryMin: "0", memoryLow: "0", memoryHigh: "524288000"}, nil},
		"Guaranteed is not throttled":   {guaranteed, Policy{MemoryThrottling: 0.9}, zero, nil},
		"protected, Burstable":          {some, Policy{TieredMemory: true}, map[string]string{oomGroup: "1", memoryLow: "104857600"}, map[string]string{memoryLow: "104857600"}},
		"protected, Guaranteed":         {guaranteed, Policy{TieredMemory: true}, map[string]string{oomGroup: "1", memoryMin: "104857600"}, map[string]string{memoryMin: "104857600"}},
		"protected, BestEffort":         {podtest.New("Always", "a"), Policy{TieredMemory: true}, zero, nil},
		"a limit of the pod":            {whole, Policy{MemoryThrottling: 0.5}, zero, map[string]string{memoryHigh: "157286400"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(tt.policy)
			if r := b.ContainerResources(tt.pod, &tt.pod.Spec.Containers[0], v2); !maps.Equal(r.Unified, tt.container) {
				t.Errorf("container: %v, want %v", r.Unified, tt.container)
			}
			if l := b.PodLimits(tt.pod, v2); !maps.Equal(l.Unified, tt.all) {
				t.Errorf("pod: %v, want %v", l.Unified, tt.all)
			}
			if r := b.ContainerResources(tt.pod, &tt.pod.Spec.Containers[0], machineOf(1<<30)); r.Unified != nil {
				t.Errorf("version 1: %v", r.Unified)
			}
		})
	}
}

// TestPodLimits bounds pods as a whole, with their overhead, processes and huge
// pages.
func TestPodLimits(t *testing.T) {
	overhead := burstable(podtest.Resources("memory", "64Mi", "cpu", "100m"), podtest.Resources("memory", "128Mi", "cpu", "200m"))
	overhead.Spec.Overhead = podtest.Resources("memory", "32Mi", "cpu", "100m")
	l := newBuilder(Policy{PodPids: 200}).PodLimits(overhead, machineOf(1<<30))
	if l.Memory != 160<<20 || l.CPUQuota != 30000 || l.CPUPeriod != CPUPeriod || l.CPUShares != 204 || l.Pids != 200 {
		t.Errorf("with overhead: %+v", l)
	}
	off := newBuilder(Policy{NoCPUQuota: true})
	if l := off.PodLimits(overhead, machineOf(1<<30)); l.CPUQuota != -1 || l.Memory != 160<<20 {
		t.Errorf("no quota: %+v", l)
	}
	if r := off.ContainerResources(overhead, &overhead.Spec.Containers[0], machineOf(1<<30)); r.CPUQuota != 0 || r.CPUPeriod != 0 || r.CPUShares != 102 {
		t.Errorf("no quota: %+v", r)
	}
	other := newBuilder(Policy{CPUPeriod: 10_000})
	if l := other.PodLimits(overhead, machineOf(1<<30)); l.CPUQuota != 3000 || l.CPUPeriod != 10_000 {
		t.Errorf("another period: %+v", l)
	}
	if r := other.ContainerResources(overhead, &overhead.Spec.Containers[0], machineOf(1<<30)); r.CPUQuota != 2000 || r.CPUPeriod != 10_000 {
		t.Errorf("another period: %+v", r)
	}
	huge := burstable(podtest.Resources("hugepages-2Mi", "4Mi"), podtest.Resources("hugepages-2Mi", "4Mi"))
	if l := newBuilder(Policy{}).PodLimits(huge, Node{}); l.HugePages["2MB"] != 4<<20 {
		t.Errorf("huge pages: %+v", l)
	}
	huge.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	huge.Spec.Resources = &corev1.ResourceRequirements{Requests: podtest.Resources("hugepages-2Mi", "6Mi"), Limits: podtest.Resources("hugepages-2Mi", "6Mi")}
	r := newBuilder(Policy{}).ContainerResources(huge, &huge.Spec.Containers[0], Node{HugePageSizes: []string{"2MB", "1GB"}})
	if r.HugePages["2MB"] != 6<<20 || len(r.HugePages) != 2 {
		t.Errorf("huge pages of the pod, for its container: %v", r.HugePages)
	}
}

// TestOOMScoreOfSidecar: a sidecar's score is not worse than that of the containers it
// serves.
func TestOOMScoreOfSidecar(t *testing.T) {
	pod := podtest.New("Always", "side:s", "a")
	pod.Spec.Containers[0].Resources.Requests = podtest.Resources("memory", "512Mi")
	if r := newBuilder(Policy{}).ContainerResources(pod, &pod.Spec.InitContainers[0], machineOf(1<<30)); r.OOMScoreAdj != 500 {
		t.Errorf("score %d", r.OOMScoreAdj)
	}
}
