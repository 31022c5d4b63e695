package resize

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// Allocation is what a pod and its containers have of CPU and memory, or were
// granted.
type Allocation struct {
	Pod        *corev1.ResourceRequirements           `json:"pod,omitempty"` // of the pod as a whole (KEP-2837)
	Containers map[string]corev1.ResourceRequirements `json:"containers,omitempty"`
}

// Of is what the spec of a pod asks for.
func Of(pod *corev1.Pod) Allocation {
	a := Allocation{Pod: pod.Spec.Resources.DeepCopy(), Containers: make(map[string]corev1.ResourceRequirements)}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			a.Containers[list[i].Name] = *list[i].Resources.DeepCopy()
		}
	}
	return a
}

// Apply is the pod with the allocation in place of what its spec asks for. It is the
// pod itself where nothing differs.
func (a Allocation) Apply(pod *corev1.Pod) *corev1.Pod {
	if a.Granted(pod) {
		return pod
	}
	out := pod.DeepCopy()
	if !samePod(a.Pod, out.Spec.Resources) {
		out.Spec.Resources = a.Pod.DeepCopy()
	}
	for _, list := range [][]corev1.Container{out.Spec.InitContainers, out.Spec.Containers} {
		for i := range list {
			if r, ok := a.Containers[list[i].Name]; ok {
				list[i].Resources = *r.DeepCopy()
			}
		}
	}
	return out
}

// Granted reports whether the allocation is what the spec of the pod asks for.
func (a Allocation) Granted(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if r, ok := a.Containers[list[i].Name]; ok && !Same(r, list[i].Resources) {
				return false
			}
		}
	}
	return samePod(a.Pod, pod.Spec.Resources)
}

// clone is a copy that shares nothing.
func (a Allocation) clone() Allocation {
	out := Allocation{Pod: a.Pod.DeepCopy(), Containers: maps.Clone(a.Containers)}
	for name, r := range out.Containers {
		out.Containers[name] = *r.DeepCopy()
	}
	return out
}

// samePod compares the resources of a pod as a whole.
func samePod(a, b *corev1.ResourceRequirements) bool {
	var none corev1.ResourceRequirements
	if a == nil {
		a = &none
	}
	if b == nil {
		b = &none
	}
	return Same(*a, *b)
}

// Same reports whether nothing differs of what a resize may change: CPU and memory.
func Same(a, b corev1.ResourceRequirements) bool {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		for _, lists := range [][2]corev1.ResourceList{{a.Limits, b.Limits}, {a.Requests, b.Requests}} {
			if x, y := lists[0][name], lists[1][name]; x.Cmp(y) != 0 {
				return false
			}
		}
	}
	return true
}

// Amounts are the resources of a container in numbers. A limit that it does not have
// is that of its pod as a whole.
type Amounts struct {
	CPURequest, CPULimit       int64 // thousandths of a CPU; 0 means none
	MemoryRequest, MemoryLimit int64 // bytes; 0 means none
}

// AmountsOf are the amounts of a container in a pod that has those resources as a
// whole, or nil.
func AmountsOf(whole *corev1.ResourceRequirements, r corev1.ResourceRequirements) Amounts {
	limit := func(name corev1.ResourceName) (q int64, milli int64) {
		l, ok := r.Limits[name]
		if (!ok || l.IsZero()) && whole != nil {
			l = whole.Limits[name]
		}
		return l.Value(), l.MilliValue()
	}
	cpu, memory := r.Requests[corev1.ResourceCPU], r.Requests[corev1.ResourceMemory]
	a := Amounts{CPURequest: cpu.MilliValue(), MemoryRequest: memory.Value()}
	_, a.CPULimit = limit(corev1.ResourceCPU)
	a.MemoryLimit, _ = limit(corev1.ResourceMemory)
	return a
}

// Requirements are the amounts in the form of a spec, with what is no CPU nor memory
// taken from r.
func (a Amounts) Requirements(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	out := *r.DeepCopy()
	if out.Requests == nil {
		out.Requests = make(corev1.ResourceList)
	}
	if out.Limits == nil {
		out.Limits = make(corev1.ResourceList)
	}
	set := func(list corev1.ResourceList, name corev1.ResourceName, q *resource.Quantity) {
		if q.IsZero() {
			delete(list, name)
		} else {
			list[name] = *q
		}
	}
	set(out.Requests, corev1.ResourceCPU, resource.NewMilliQuantity(a.CPURequest, resource.DecimalSI))
	set(out.Limits, corev1.ResourceCPU, resource.NewMilliQuantity(a.CPULimit, resource.DecimalSI))
	set(out.Requests, corev1.ResourceMemory, resource.NewQuantity(a.MemoryRequest, resource.BinarySI))
	set(out.Limits, corev1.ResourceMemory, resource.NewQuantity(a.MemoryLimit, resource.BinarySI))
	return out
}

// NeedsRestart reports whether a container must restart to get from one set of
// amounts to another, by its resizePolicy.
func NeedsRestart(c *corev1.Container, from, to Amounts) bool {
	changed := map[corev1.ResourceName]bool{
		corev1.ResourceCPU:    from.CPURequest != to.CPURequest || from.CPULimit != to.CPULimit,
		corev1.ResourceMemory: from.MemoryRequest != to.MemoryRequest || from.MemoryLimit != to.MemoryLimit,
	}
	for _, p := range c.ResizePolicy {
		if changed[p.ResourceName] && p.RestartPolicy == corev1.RestartContainer {
			return true
		}
	}
	return false
}

// increases reports whether a pod would request more than it was granted.
func increases(allocated, desired *corev1.Pod) bool {
	was, is := podspec.Requests(allocated), podspec.Requests(desired)
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if x, y := was[name], is[name]; y.Cmp(x) > 0 {
			return true
		}
	}
	return false
}
