package plan

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
)

// TestActual compares a container's figures in the kernel's units.
func TestActual(t *testing.T) {
	made := corev1.ResourceRequirements{Requests: podtest.Resources("cpu", "100m", "memory", "10M"), Limits: podtest.Resources("cpu", "5m", "memory", "100000001")}
	for name, c := range map[string]struct {
		r        *runtime.Resources
		cpu, lim string
		memory   string
	}{
		"nothing said":   {nil, "100m", "5m", "100000001"},
		"nothing known":  {&runtime.Resources{}, "100m", "5m", "100000001"},
		"as made":        {&runtime.Resources{CPUShares: 102, CPUQuota: 1000, CPUPeriod: 100000, Memory: 100000001}, "100m", "5m", "100000001"},
		"rounded":        {&runtime.Resources{CPUShares: 80, CPUQuota: 500, CPUPeriod: 50000, Memory: 99999744}, "100m", "5m", "100000001"},
		"something else": {&runtime.Resources{CPUShares: 512, CPUQuota: 40000, CPUPeriod: 100000, Memory: 64 << 20}, "500m", "400m", "64Mi"},
	} {
		got := actualResources(made, c.r)
		cpu, lim, memory := got.Requests[corev1.ResourceCPU], got.Limits[corev1.ResourceCPU], got.Limits[corev1.ResourceMemory]
		if cpu.String() != c.cpu || lim.String() != c.lim || memory.String() != c.memory {
			t.Errorf("%s: cpu %s of %s, memory %s", name, cpu.String(), lim.String(), memory.String())
		}
	}
}
