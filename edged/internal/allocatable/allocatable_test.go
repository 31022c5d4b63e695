package allocatable

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podtest"
)

func TestPods(t *testing.T) {
	capacity := podtest.Resources("cpu", "4", "memory", "8Gi", "hugepages-2Mi", "64Mi", "pid", "1000", "pods", "110", "ephemeral-storage", "10Gi")
	l := Pods(capacity, podtest.Resources("cpu", "500m", "memory", "1Gi", "pid", "100", "example.com/unknown", "3"))
	if l.CPUShares != 3584 || l.Memory != 7<<30 || l.Pids != 900 || l.HugePages["2MB"] != 64<<20 || l.CPUQuota != 0 || l.Unified != nil {
		t.Errorf("%+v", l)
	}
	if l := Pods(capacity, podtest.Resources("memory", "9Gi")); l.Memory != 0 || l.CPUShares != 4096 {
		t.Errorf("more is reserved than there is: %+v", l)
	}
}

func TestDaemons(t *testing.T) {
	reserved := podtest.Resources("cpu", "250m", "memory", "1Gi", "pid", "100")
	if l := Daemons(reserved, Options{CgroupV2: true}); l.CPUShares != 256 || l.Memory != 1<<30 || l.Pids != 100 || l.Unified["memory.min"] != "1073741824" {
		t.Errorf("%+v", l)
	}
	if l := Daemons(reserved, Options{}); l.Unified != nil {
		t.Errorf("version 1: %+v", l)
	}
	if l := Daemons(reserved, Options{CgroupV2: true, Compressible: true}); l.CPUShares != 256 || l.Memory != 0 || l.Pids != 0 || l.Unified != nil {
		t.Errorf("compressible: %+v", l)
	}
}

func TestTiers(t *testing.T) {
	burstable := podtest.New("Always", "a")
	burstable.Spec.Containers[0].Resources.Requests = podtest.Resources("cpu", "250m", "memory", "100")
	burstable.Spec.Overhead = podtest.Resources("cpu", "250m")
	guaranteed := podtest.New("Always", "a")
	guaranteed.Spec.Containers[0].Resources.Limits = podtest.Resources("cpu", "4", "memory", "1000")
	guaranteed.Spec.Containers[0].Resources.Requests = guaranteed.Spec.Containers[0].Resources.Limits
	pods := []*corev1.Pod{burstable, guaranteed, podtest.New("Always", "a")}
	for name, tt := range map[string]struct {
		pods       []*corev1.Pod
		tiered, v2 bool
		shares     int64
		all, some  map[string]string
	}{
		"version 1":           {pods, true, false, 512, nil, nil},
		"nothing":             {nil, false, false, 2, nil, nil},
		"version 2":           {pods, false, true, 512, map[string]string{"memory.min": "0", "memory.low": "0"}, map[string]string{"memory.low": "0"}},
		"version 2, tiered":   {pods, true, true, 512, map[string]string{"memory.min": "1100", "memory.low": "100"}, map[string]string{"memory.low": "100"}},
		"tiered, and no pods": {nil, true, true, 2, map[string]string{"memory.min": "0", "memory.low": "0"}, map[string]string{"memory.low": "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(map[corev1.PodQOSClass]Tier)
			for _, tier := range Tiers(tt.pods, Options{TieredMemory: tt.tiered, CgroupV2: tt.v2}) {
				got[tier.Class] = tier
			}
			if got["Burstable"].Limits.CPUShares != tt.shares || got["BestEffort"].Limits.CPUShares != 2 || got["Guaranteed"].Limits.CPUShares != 0 {
				t.Errorf("shares: %+v", got)
			}
			if !maps.Equal(got["Guaranteed"].Limits.Unified, tt.all) || !maps.Equal(got["Burstable"].Limits.Unified, tt.some) {
				t.Errorf("memory: %+v", got)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	sum := Add(podtest.Resources("cpu", "1"), nil, podtest.Resources("cpu", "500m", "memory", "1Gi"))
	if cpu := sum["cpu"]; cpu.MilliValue() != 1500 || len(sum) != 2 {
		t.Errorf("%v", sum)
	}
}
