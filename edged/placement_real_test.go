package edged_test

import (
	goruntime "runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/internal/podtest"
)

// TestRealCPUManager gives a container a CPU of its own, and reads from the kernel that
// the others left it, over a restart of the agent, and have it back in the end.
func TestRealCPUManager(t *testing.T) {
	if goruntime.NumCPU() < 2 {
		t.Skip("one CPU cannot be divided")
	}
	r := startRealBelow(t, edged.Resources{})
	r.stop()
	r.cfg.Reserved = podtest.Resources("cpu", "100m")
	r.cfg.Topology = edged.Topology{CPUManagerPolicy: "static"}
	r.start()
	runsOn := func(uid types.UID) cpuset.CPUSet {
		least := cpuset.New()
		for group, text := range groupFiles(t, uid, "cpuset.cpus", "cpuset.cpus") {
			set, err := cpuset.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			// That of the sandbox is never changed.
			if group != "" && (least.IsEmpty() || set.Size() < least.Size()) {
				least = set
			}
		}
		return least
	}
	shared := onHost(newPod("shared", busybox(waits)))
	r.put(shared)
	r.wait(t, "the shared pod runs", realLimit, func() bool { return r.isReady(shared.UID) })
	all := runsOn(shared.UID)
	if all.Size() < 2 {
		t.Fatalf("the shared pod runs on %s; is the cpuset controller there?", all)
	}
	own := onHost(newPod("own", busybox(waits)))
	list := podtest.Resources("cpu", "1", "memory", "32Mi")
	own.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
	r.put(own)
	r.wait(t, "the pod with its own CPU runs", realLimit, func() bool { return r.isReady(own.UID) })
	alone := runsOn(own.UID)
	if alone.Size() != 1 {
		t.Fatalf("the pod has CPUs %s, want one", alone)
	}
	r.watch(t, "the shared pod leaves the CPU", func() bool { return runsOn(shared.UID).Equals(all.Difference(alone)) })
	if quota := groupFiles(t, own.UID, "cpu.cfs_quota_us", "cpu.max")[""]; quota != "-1" && quota != "max 100000" {
		t.Errorf("the pod with CPUs of its own has a quota of %s", quota)
	}
	r.stop()
	r.start()
	r.wait(t, "reported again", realLimit, func() bool { return r.isReady(own.UID) })
	if got := runsOn(own.UID); !got.Equals(alone) {
		t.Errorf("after a restart of the agent the pod has %s, before %s", got, alone)
	}
	r.del(own, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[own.UID] })
	r.watch(t, "the shared pod gets the CPU back", func() bool { return runsOn(shared.UID).Equals(all) })
}
