package main

import (
	"errors"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

func TestTopologyFlags(t *testing.T) {
	f := topologyFlags{
		CPUManagerPolicy: "static", CPUManagerPolicyOptions: map[string]string{"full-pcpus-only": "true"}, ReservedCPUs: "0-1",
		MemoryManagerPolicy: "Static", ReservedMemory: []string{"0:memory=1Gi,hugepages-2Mi=4Mi", "1:memory=100Mi"}, TopologyManagerPolicy: "restricted", TopologyManagerScope: "pod",
	}
	got, err := f.topology()
	if err != nil || got.CPUManagerPolicy != "static" || got.ReservedSystemCPUs != "0-1" || got.TopologyManagerScope != "pod" || len(got.ReservedMemory) != 2 ||
		got.ReservedMemory[0].Limits.Memory().Value() != 1<<30 || len(got.ReservedMemory[0].Limits) != 2 || got.ReservedMemory[1].NUMANode != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"memory=1Gi", "x:memory=1Gi", "0:memory", "0:memory=much"} {
		f.ReservedMemory = []string{text}
		var usage *program.UsageError
		if _, err := f.topology(); !errors.As(err, &usage) || usage.Setting != "reserved-memory" {
			t.Errorf("%q: %v", text, err)
		}
	}
}
