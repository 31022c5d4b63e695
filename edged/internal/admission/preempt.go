package admission

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/static"
)

// systemCritical is the priority of system-cluster-critical, the lower of the two classes
// whose pods are critical:
// https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/
const systemCritical = 2_000_000_000

// IsCritical reports whether other pods must make room for the pod: one of a file, or one
// of the two system priorities.
func IsCritical(pod *corev1.Pod) bool {
	return static.Is(pod) || static.IsMirror(pod) || pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical
}

// yields reports whether a pod makes room for a critical one.
func yields(pod, critical *corev1.Pod) bool {
	if !IsCritical(pod) {
		return true
	}
	own, other := pod.Spec.Priority, critical.Spec.Priority
	return own != nil && other != nil && *own < *other
}

// shortage is how much a pod lacks of a resource: milli-CPUs, bytes, or pieces.
type shortage struct {
	resource                  corev1.ResourceName
	requested, used, capacity int64
}

func (s shortage) missing() int64 { return s.used + s.requested - s.capacity }

// amount is a quantity as messages show it.
func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// shortages compares what the pod requests, with those before it, with what the node has.
// The node has zero of what it does not advertise: a pod that requests a device never runs
// without one.
func (f Request) shortages() []shortage {
	var out []shortage
	want := podspec.Requests(f.Pod)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		request, capacity := want[name], f.Allocatable[name]
		var used resource.Quantity
		for _, o := range f.Others {
			used.Add(podspec.HeldRequest(o, name))
		}
		sum := used.DeepCopy()
		sum.Add(request)
		// A pod that asks for nothing of a resource is admitted also where others take too much.
		if !request.IsZero() && sum.Cmp(capacity) > 0 {
			out = append(out, shortage{name, amount(name, request), amount(name, used), amount(name, capacity)})
		}
	}
	// Config.MaxPods, 110 by default: the kubelet's maxPods.
	if pods := f.Allocatable[corev1.ResourcePods]; !pods.IsZero() && int64(len(f.Others)) >= pods.Value() {
		out = append(out, shortage{corev1.ResourcePods, 1, int64(len(f.Others)), pods.Value()})
	}
	return out
}

// Preempt lists the pods that must end so that the node has room for a critical pod; none
// if it has room. A Rejection says that the pod cannot be admitted, whoever ends. It is pure.
//
// As many Guaranteed pods stay as can, then Burstable, then BestEffort ones, and of each
// class the fewest and the smallest end: the order of the kubelet.
func (f Request) Preempt() ([]*corev1.Pod, *plan.Rejection) {
	if r := f.decideWithoutRoom(); r != nil {
		return nil, r
	}
	need := make(needs)
	for _, s := range f.shortages() {
		need[s.resource] = s.missing()
	}
	if len(need) == 0 {
		return nil, nil
	}
	byClass := make(map[corev1.PodQOSClass][]*corev1.Pod)
	var all []*corev1.Pod
	for _, o := range f.Others {
		if yields(o, f.Pod) {
			class := podspec.QOSClass(o)
			byClass[class], all = append(byClass[class], o), append(all, o)
		}
	}
	if left := need.without(all...); len(left) > 0 {
		return nil, reject(rejectedUnexpected, fmt.Sprintf("Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: %s", left))
	}
	bestEffort, burstable := byClass[corev1.PodQOSBestEffort], byClass[corev1.PodQOSBurstable]
	// Each class covers only what all pods of the lower ones together do not.
	guaranteedEnd := fewest(byClass[corev1.PodQOSGuaranteed], need.without(slices.Concat(bestEffort, burstable)...))
	burstableEnd := fewest(burstable, need.without(slices.Concat(bestEffort, guaranteedEnd)...))
	bestEffortEnd := fewest(bestEffort, need.without(slices.Concat(burstableEnd, guaranteedEnd)...))
	return slices.Concat(bestEffortEnd, burstableEnd, guaranteedEnd), nil
}

// needs is how much must become free of each resource.
type needs map[corev1.ResourceName]int64

// held is how much of a resource a pod holds, in the units of a shortage.
func held(pod *corev1.Pod, name corev1.ResourceName) int64 {
	if name == corev1.ResourcePods {
		return 1
	}
	return amount(name, podspec.HeldRequest(pod, name))
}

// without is what is still needed when pods have ended.
func (n needs) without(pods ...*corev1.Pod) needs {
	out := make(needs)
	for name, missing := range n {
		for _, p := range pods {
			missing -= held(p, name)
		}
		if missing > 0 {
			out[name] = missing
		}
	}
	return out
}

// distance is how far from enough the end of a pod is: the sum of the squares of the parts
// of each need that it leaves.
func (n needs) distance(pod *corev1.Pod) float64 {
	sum := 0.0
	for _, name := range slices.Sorted(maps.Keys(n)) { // floats add up alike in one order only
		if left := float64(n[name] - held(pod, name)); left > 0 {
			part := left / float64(n[name])
			sum += part * part
		}
	}
	return sum
}

func (n needs) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("(res: %s, q: %d)", name, n[name]))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// fewest picks pods that together meet the needs, which all of them do: again and again
// the one that leaves least, and of equal ones the one that requests less.
func fewest(pods []*corev1.Pod, n needs) []*corev1.Pod {
	pods = slices.Clone(pods)
	var out []*corev1.Pod
	for len(n) > 0 && len(pods) > 0 {
		best := slices.MinFunc(pods, func(a, b *corev1.Pod) int {
			return cmp.Or(
				cmp.Compare(n.distance(a), n.distance(b)),
				cmp.Compare(held(a, corev1.ResourceMemory), held(b, corev1.ResourceMemory)),
				cmp.Compare(held(a, corev1.ResourceCPU), held(b, corev1.ResourceCPU)),
				b.CreationTimestamp.Compare(a.CreationTimestamp.Time), // the younger
				cmp.Compare(a.UID, b.UID),
			)
		})
		n, out = n.without(best), append(out, best)
		pods = slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p == best })
	}
	return out
}
