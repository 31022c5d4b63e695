package plan

import (
	"encoding/json"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/resize"
	"github.com/edgekit/edgekit/edged/runtime"
)

// A container is made with the resources that its pod was granted (see edged/internal/
// resize), noted in an annotation of the container. What was changed since while it
// ran is in the record of its pod.

// Actuated is what was set of a pod's resources since it was made: the part of its
// record that says so.
type Actuated struct {
	Pod        *corev1.ResourceRequirements           // nil means what its sandbox was made with
	Containers map[string]corev1.ResourceRequirements // by container id
}

// container is what a container has: what was set last, or else what it was made with.
// One that another program or an older release made carries no note; what the
// runtime reports comes first then.
func (a Actuated) container(c *corev1.Container, cur *runtime.Container) corev1.ResourceRequirements {
	if r, ok := a.Containers[cur.ID]; ok {
		return r
	}
	if r, ok := notedResources(cur.Annotations); ok {
		return r
	}
	return actualResources(c.Resources, cur.Resources)
}

// pod is what the pod as a whole has; nil for nothing.
func (a Actuated) pod(allocated *corev1.Pod, v View) *corev1.ResourceRequirements {
	if a.Pod != nil {
		return a.Pod
	}
	if sb := v.Sandbox(); sb != nil {
		if r, ok := notedResources(sb.Annotations); ok {
			return &r
		}
	}
	return allocated.Spec.Resources
}

// change is how a running container must change to have what its pod was granted.
func change(s Situation, c *corev1.Container, run *runtime.Container) (resize.Change, bool) {
	out := resize.Change{
		ID: run.ID, Name: c.Name, From: resize.AmountsOf(s.Actuated.pod(s.Pod, s.View), s.Actuated.container(c, run)), To: resize.AmountsOf(s.Pod.Spec.Resources, c.Resources),
	}
	return out, out.From != out.To
}

// Changes lists the running containers that do not have what their pod was granted.
// Init containers that are no sidecars get it when they start again.
func Changes(s Situation) []resize.Change {
	var out []resize.Change
	for _, list := range [][]corev1.Container{s.Pod.Spec.InitContainers, s.Pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			run := s.View.Latest(c.Name)
			if run == nil || run.State != runtime.ContainerRunning || isInit(s.Pod, c) && !podspec.IsSidecar(c) {
				continue
			}
			if ch, ok := change(s, c, run); ok {
				out = append(out, ch)
			}
		}
	}
	return out
}

// InPlace lists the changes that are made while the containers run. The others get
// what was granted by a restart, see keepRunning.
func InPlace(s Situation) []resize.Change {
	return slices.DeleteFunc(Changes(s), func(ch resize.Change) bool {
		c, _ := podspec.FindContainer(s.Pod, ch.Name)
		return c != nil && resize.NeedsRestart(c, ch.From, ch.To)
	})
}

// isInit reports whether a container is one of the init containers of its pod.
func isInit(pod *corev1.Pod, c *corev1.Container) bool {
	_, init := podspec.FindContainer(pod, c.Name)
	return init
}

// ResizeDue reports whether something of a running pod does not have what the pod was
// granted.
func ResizeDue(s Situation) bool {
	if sb := s.View.Sandbox(); sb == nil || !sb.Ready || s.Ending != EndNone {
		return false
	}
	return s.ResizePod || len(Changes(s)) > 0
}

// placeResize puts the change of a pod's resources into a decision: after the
// containers that must restart for it have stopped, and before any starts.
func placeResize(s Situation, d *Decision) {
	if !ResizeDue(s) {
		return
	}
	if until, ok := s.Retry[RetryResize]; ok && s.Now.Before(until) {
		d.wakeAt(until)
		return
	}
	before := func(a Action) bool {
		return a.Kind == ActSetUp || a.Kind == ActRefreshVolumes || a.Kind == ActKill
	}
	var first, rest []Action
	for _, a := range d.Actions {
		if before(a) {
			first = append(first, a)
		} else {
			rest = append(rest, a)
		}
	}
	d.Actions = append(append(first, Action{Kind: ActResize}), rest...)
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
// containers were made with: what it was granted, where no record says more. It is
// the pod itself where nothing differs.
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
		if r, ok := notedResources(sb.Annotations); ok && !resize.Same(r, *pod.Spec.Resources) {
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
	return r, ok && !resize.Same(r, c.Resources)
}

// podAllocated is what the pod as a whole was granted and has (KEP-2837, pod-level
// resources); nothing for a pod that asks for nothing as a whole.
func podAllocated(f Facts) (corev1.ResourceList, *corev1.ResourceRequirements) {
	pod := f.allocated()
	if len(podspec.PodResources(pod).Requests)+len(podspec.PodResources(pod).Limits) == 0 || !sandboxReady(f) {
		return nil, nil
	}
	return podspec.Requests(pod), f.Actuated.pod(pod, f.View).DeepCopy()
}
