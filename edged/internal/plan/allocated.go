package plan

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// This node does not resize pods in place (KEP-1287). A container keeps the resources
// that it was made with, noted in an annotation of the container, for as long as its
// pod lives, also over restarts. The status shows those, never what the spec asks for
// since, and a condition says that the two differ.

// allocatedResources is what a container was made with. One that another program
// or an older release made carries no note; what the runtime reports comes first
// then.
func allocatedResources(c *corev1.Container, cur *runtime.Container) corev1.ResourceRequirements {
	if r, ok := notedResources(cur.Annotations); ok {
		return r
	}
	return actualResources(c.Resources, cur.Resources)
}

// notedResources reads the note of what a pod or container was made with.
func notedResources(annotations map[string]string) (r corev1.ResourceRequirements, ok bool) {
	text, ok := annotations[runtime.AnnotationResources]
	return r, ok && json.Unmarshal([]byte(text), &r) == nil
}

// actualResources is what a container has according to the runtime, as far as that
// says. Amounts are compared in the kernel's units: what was rounded on the way
// there is no difference.
func actualResources(made corev1.ResourceRequirements, r *runtime.Resources) corev1.ResourceRequirements {
	out := *made.DeepCopy()
	if r == nil {
		return out
	}
	if limit, ok := out.Limits[corev1.ResourceCPU]; ok && r.CPUQuota > 0 && podspec.CPUQuota(limit)*period(r) != r.CPUQuota*podspec.CPUPeriod {
		out.Limits[corev1.ResourceCPU] = *resource.NewMilliQuantity(r.CPUQuota*1000/period(r), resource.DecimalSI)
	}
	if limit, ok := out.Limits[corev1.ResourceMemory]; ok && r.Memory > 0 && pages(limit.Value()) != pages(r.Memory) {
		out.Limits[corev1.ResourceMemory] = *resource.NewQuantity(r.Memory, resource.BinarySI)
	}
	if request, ok := out.Requests[corev1.ResourceCPU]; ok && r.CPUShares > 0 && !sameShares(podspec.CPUShares(request), r.CPUShares) {
		out.Requests[corev1.ResourceCPU] = *resource.NewMilliQuantity((r.CPUShares*1000+podspec.CPUSharesPerCPU-1)/podspec.CPUSharesPerCPU, resource.DecimalSI)
	}
	return out
}

// pages is how the kernel counts a memory limit.
func pages(bytes int64) int64 { return bytes / int64(os.Getpagesize()) }

// sameShares reports whether a runtime has the CPU shares that are wanted. On
// cgroup v2 the kernel keeps a weight, from which a runtime computes shares back;
// the conversion loses precision (KEP-2254).
func sameShares(want, have int64) bool {
	weight := 1 + (max(want, podspec.MinCPUShares)-podspec.MinCPUShares)*9999/(podspec.MaxCPUShares-podspec.MinCPUShares)
	return have == want || have == podspec.MinCPUShares+(weight-1)*(podspec.MaxCPUShares-podspec.MinCPUShares)/9999
}

// period is the CPU period that a runtime uses.
func period(r *runtime.Resources) int64 {
	if r.CPUPeriod > 0 {
		return r.CPUPeriod
	}
	return podspec.CPUPeriod
}

// AllocatedPod is the pod with the resources in its spec that it and its
// containers were made with, so that a container that is made anew gets the same.
// It is the pod itself where nothing differs.
func AllocatedPod(pod *corev1.Pod, v View) *corev1.Pod {
	out := pod
	change := func(edit func(*corev1.PodSpec)) {
		if out == pod {
			out = pod.DeepCopy()
		}
		edit(&out.Spec)
	}
	for i := range pod.Spec.InitContainers {
		if r, ok := madeWith(v, &pod.Spec.InitContainers[i]); ok {
			change(func(s *corev1.PodSpec) { s.InitContainers[i].Resources = r })
		}
	}
	for i := range pod.Spec.Containers {
		if r, ok := madeWith(v, &pod.Spec.Containers[i]); ok {
			change(func(s *corev1.PodSpec) { s.Containers[i].Resources = r })
		}
	}
	if sb := v.Sandbox(); sb != nil && pod.Spec.Resources != nil {
		if r, ok := notedResources(sb.Annotations); ok && !sameResources(r, *pod.Spec.Resources) {
			change(func(s *corev1.PodSpec) { s.Resources = &r })
		}
	}
	return out
}

// madeWith is what the newest container of that name was made with, if its spec
// asks for something else now.
func madeWith(v View, c *corev1.Container) (corev1.ResourceRequirements, bool) {
	cur := v.Latest(c.Name)
	if cur == nil {
		return corev1.ResourceRequirements{}, false
	}
	r, ok := notedResources(cur.Annotations)
	return r, ok && !sameResources(r, c.Resources)
}

// sameResources reports whether nothing differs of what a resize may change: CPU
// and memory.
func sameResources(a, b corev1.ResourceRequirements) bool {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		for _, lists := range [][2]corev1.ResourceList{{a.Limits, b.Limits}, {a.Requests, b.Requests}} {
			if x, y := lists[0][name], lists[1][name]; x.Cmp(y) != 0 {
				return false
			}
		}
	}
	return true
}

// resizePending is the message of the condition PodResizePending (KEP-1287): what
// keeps the resources that it was made with. It is empty where nothing differs.
func resizePending(f Facts) string {
	var differs []string
	if sb := f.View.Sandbox(); sb != nil && f.Pod.Spec.Resources != nil {
		if r, ok := notedResources(sb.Annotations); ok && !sameResources(r, *f.Pod.Spec.Resources) {
			differs = append(differs, "the pod as a whole")
		}
	}
	for _, list := range [][]corev1.Container{f.Pod.Spec.InitContainers, f.Pod.Spec.Containers} {
		for i := range list {
			cur := f.View.Latest(list[i].Name)
			if cur != nil && !sameResources(allocatedResources(&list[i], cur), list[i].Resources) {
				differs = append(differs, "container "+list[i].Name)
			}
		}
	}
	if len(differs) == 0 {
		return ""
	}
	return fmt.Sprintf("in-place resize is not supported on this node: %s keeps the resources that it was made with; delete the pod to have it made with the new ones", strings.Join(differs, ", "))
}

// podAllocated is what the pod as a whole was made with (KEP-2837, pod-level
// resources); nothing for a pod that asks for nothing as a whole.
func podAllocated(f Facts) (corev1.ResourceList, *corev1.ResourceRequirements) {
	pod := AllocatedPod(f.Pod, f.View)
	if len(podspec.PodResources(pod).Requests)+len(podspec.PodResources(pod).Limits) == 0 || !sandboxReady(f) {
		return nil, nil
	}
	whole := podspec.PodResources(pod)
	return podspec.Requests(pod), whole.DeepCopy()
}
