package nodestatus

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func FuzzHostFiles(f *testing.F) {
	f.Add([]byte("PRETTY_NAME=\"Debian\"\n"))
	f.Add([]byte("MemTotal: 12 kB\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		osName(b)
		parseMemInfo(b)
	})
}

// TestAllocatable: preallocated huge pages are not part of allocatable memory.
func TestAllocatable(t *testing.T) {
	list := func(memory, huge2, huge1 string) corev1.ResourceList {
		return corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse(memory), "hugepages-2Mi": resource.MustParse(huge2), "hugepages-1Gi": resource.MustParse(huge1)}
	}
	for _, tt := range []struct {
		name               string
		capacity, reserved corev1.ResourceList
		memory, cpu        string
	}{
		{"nothing set aside", list("4Gi", "0", "0"), nil, "4Gi", "2"},
		{"huge pages", list("4Gi", "512Mi", "1Gi"), nil, "2560Mi", "2"},
		{"huge pages and what is reserved", list("4Gi", "512Mi", "1Gi"), corev1.ResourceList{"memory": resource.MustParse("512Mi"), "cpu": resource.MustParse("500m")}, "2Gi", "1500m"},
		{"more than there is", list("1Gi", "512Mi", "1Gi"), nil, "0", "2"},
		{"reserved that the machine does not have", list("1Gi", "0", "0"), corev1.ResourceList{"x/y": resource.MustParse("1")}, "1Gi", "2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.capacity.Memory().String()
			got := allocatable(tt.capacity, tt.reserved)
			if got.Memory().Cmp(resource.MustParse(tt.memory)) != 0 || got.Cpu().Cmp(resource.MustParse(tt.cpu)) != 0 {
				t.Errorf("memory %s, cpu %s; want %s, %s", got.Memory(), got.Cpu(), tt.memory, tt.cpu)
			}
			if tt.capacity.Memory().String() != before {
				t.Error("the capacity was changed")
			}
		})
	}
}

// TestMaxPods: podsPerCore bounds the pods by the CPUs, and maxPods does in any case.
func TestMaxPods(t *testing.T) {
	for _, tt := range []struct{ most, perCore, cpus, want int }{{110, 0, 2, 110}, {110, 10, 2, 20}, {110, 100, 2, 110}} {
		if got := maxPods(Config{MaxPods: tt.most, PodsPerCore: tt.perCore}, tt.cpus); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}
