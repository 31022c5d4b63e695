// Package allocatable decides what the cgroups of a node are limited to: that of all
// pods, those of the classes of service, and those of the daemons that resources are
// reserved for. It is pure.
//
//	limits := allocatable.Pods(capacity, reserved)
//	for _, t := range allocatable.Tiers(pods, options) { ... }
//
// The rules are those of the kubelet: pkg/kubelet/cm/node_container_manager_linux.go
// and qos_container_manager_linux.go of Kubernetes 1.37. See
// https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/.
package allocatable

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// PIDs is the name by which processes are reserved.
const PIDs corev1.ResourceName = "pid"

// Options say what of the limits counts on this node.
type Options struct {
	CgroupV2     bool
	TieredMemory bool // requests of memory are protected, the kubelet's TieredReservation
	Compressible bool // of daemons only the CPU counts
}

// Pods bounds all pods together to what a machine has, less what is reserved. Of
// huge pages each size is bounded to what there is.
func Pods(capacity, reserved corev1.ResourceList) cgroup.Limits {
	left := Sub(capacity, reserved)
	l := daemons(left)
	l.HugePages = make(map[string]uint64)
	for name, q := range left {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			l.HugePages[podspec.PageName(size)] = uint64(max(q.Value(), 0))
		}
	}
	return l
}

// Daemons bounds daemons to what is reserved for them. Their memory is protected too,
// where the machine has cgroup v2 (KEP-2570).
func Daemons(reserved corev1.ResourceList, o Options) cgroup.Limits {
	if o.Compressible {
		return cgroup.Limits{CPUShares: daemons(reserved).CPUShares}
	}
	l := daemons(reserved)
	if o.CgroupV2 && l.Memory > 0 {
		l.Unified = map[string]string{"memory.min": strconv.FormatInt(l.Memory, 10)}
	}
	return l
}

// daemons are the limits of a list of resources but for huge pages.
func daemons(list corev1.ResourceList) cgroup.Limits {
	var l cgroup.Limits
	if q, ok := list[corev1.ResourceCPU]; ok {
		l.CPUShares = podspec.CPUShares(q)
	}
	if q, ok := list[corev1.ResourceMemory]; ok {
		l.Memory = q.Value()
	}
	if q, ok := list[PIDs]; ok {
		l.Pids = q.Value()
	}
	return l
}

// Sub takes what is reserved off a list; less than nothing is nothing.
func Sub(capacity, reserved corev1.ResourceList) corev1.ResourceList {
	out := capacity.DeepCopy()
	for name, q := range reserved {
		have, ok := out[name]
		if !ok {
			continue
		}
		have.Sub(q)
		if have.Sign() < 0 {
			have.Set(0)
		}
		out[name] = have
	}
	return out
}

// Add sums lists up.
func Add(lists ...corev1.ResourceList) corev1.ResourceList {
	out := make(corev1.ResourceList)
	for _, list := range lists {
		for name, q := range list {
			sum := out[name]
			sum.Add(q)
			out[name] = sum
		}
	}
	return out
}

// Tier is the limits of the group of a class of service.
type Tier struct {
	Class  corev1.PodQOSClass
	Limits cgroup.Limits
}

// Tiers are the groups of the classes: BestEffort gets the least share of the CPU that
// there is, Burstable the sum of its pods' requests. With tiered memory, and cgroup
// v2, the requests of memory are protected in the groups above the pods as well; the
// group of all pods, which is that of Guaranteed ones, comes first then.
func Tiers(pods []*corev1.Pod, o Options) []Tier {
	var cpu, burstable, guaranteed int64
	for _, p := range pods {
		requests := podspec.Requests(p)
		c, m := requests[corev1.ResourceCPU], requests[corev1.ResourceMemory]
		switch podspec.QOSClass(p) {
		case corev1.PodQOSBurstable:
			cpu, burstable = cpu+c.MilliValue(), burstable+m.Value()
		case corev1.PodQOSGuaranteed:
			guaranteed += m.Value()
		}
	}
	shares := min(max(cpu*podspec.CPUSharesPerCPU/1000, podspec.MinCPUShares), podspec.MaxCPUShares)
	tiers := []Tier{{corev1.PodQOSBurstable, cgroup.Limits{CPUShares: shares}}, {corev1.PodQOSBestEffort, cgroup.Limits{CPUShares: podspec.MinCPUShares}}}
	if !o.CgroupV2 {
		return tiers
	}
	if !o.TieredMemory {
		burstable, guaranteed = 0, 0 // what an agent with another policy set is taken back
	}
	all := map[string]string{"memory.min": strconv.FormatInt(guaranteed+burstable, 10), "memory.low": strconv.FormatInt(burstable, 10)}
	tiers[0].Limits.Unified = map[string]string{"memory.low": strconv.FormatInt(burstable, 10)}
	return append([]Tier{{corev1.PodQOSGuaranteed, cgroup.Limits{Unified: all}}}, tiers...)
}
