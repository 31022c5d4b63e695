package cgroup

import (
	"testing"
)

// TestResources turns limits into those of the library.
func TestResources(t *testing.T) {
	l := Limits{CPUShares: 1024, CPUQuota: -1, CPUPeriod: 100000, Memory: 64 << 20, Pids: 100, HugePages: map[string]uint64{"2MB": 4 << 20}, Unified: map[string]string{"memory.high": "100"}}
	r := resources(l, false, []string{"2MB", "1GB"})
	if r.CpuShares != 1024 || r.CpuWeight != 0 || r.CpuQuota != -1 || r.CpuPeriod != 100000 || r.Memory != 64<<20 || *r.PidsLimit != 100 || r.Unified != nil || !r.SkipDevices {
		t.Errorf("version 1: %+v", r)
	}
	if len(r.HugetlbLimit) != 2 || r.HugetlbLimit[0].Limit != 4<<20 || r.HugetlbLimit[1].Limit != 0 {
		t.Errorf("huge pages: %+v", r.HugetlbLimit)
	}
	r = resources(l, true, nil)
	if r.CpuShares != 0 || r.CpuWeight != 39 || r.Unified["memory.high"] != "100" || len(r.HugetlbLimit) > 0 {
		t.Errorf("version 2: %+v", r)
	}
	r = resources(Limits{}, true, []string{"2MB"})
	if r.CpuWeight != 0 || r.Memory != 0 || r.PidsLimit != nil || r.CpuQuota != 0 || len(r.HugetlbLimit) > 0 || r.Unified != nil {
		t.Errorf("no limits: %+v", r)
	}
}

func TestWeights(t *testing.T) {
	for shares, want := range map[int64]uint64{0: 1, 2: 1, 102: 4, 1024: 39, 262144: 10000, 1 << 40: 10000} {
		if got := sharesToWeight(shares); got != want {
			t.Errorf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
	for weight := int64(1); weight <= 10000; weight++ {
		if back := sharesToWeight(weightToShares(weight)); back != uint64(weight) {
			t.Fatalf("weight %d gives %d shares, and these weight %d", weight, weightToShares(weight), back)
		}
	}
}
