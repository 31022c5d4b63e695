package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
)

func TestResourceFlags(t *testing.T) {
	f := resourceFlags{
		SystemReserved: map[string]string{"memory": "256Mi", "pid": "100"}, EnforceNodeAllocatable: []string{"pods", "system-reserved"}, SystemReservedCgroup: "/system.slice",
		PodMaxPids: 200, CPUCFSQuota: true, MemorySwapBehavior: "LimitedSwap",
	}
	r, err := f.resources()
	if err != nil || r.SystemReserved.Memory().Value() != 256<<20 || len(r.KubeReserved) > 0 || r.EnforceNodeAllocatable[1] != edged.EnforceSystemReserved || r.PodPidsLimit != 200 || r.SwapBehavior != edged.LimitedSwap || r.CPUCFSQuota != edged.On {
		t.Errorf("%+v, %v", r, err)
	}
	f.KubeReserved = map[string]string{"cpu": "much"}
	var usage *program.UsageError
	if _, err := f.resources(); !errors.As(err, &usage) || usage.Setting != "kube-reserved" || !strings.Contains(usage.Reason, "cpu=much") {
		t.Errorf("a quantity that is none: %v", err)
	}
}
