package eviction

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Reason is that of an evicted pod's status and event, and of a pod that is refused under
// pressure.
const Reason = "Evicted"

// Message says why a pod is evicted, in the kubelet's words: what the node was low on,
// and which of the pod's containers use more of it than they request. u is nil where the
// pod's usage is not known.
func Message(pod *corev1.Pod, u *Usage, s Signal, met []Threshold, seen Observations) string {
	r := s.Resource()
	var out strings.Builder
	fmt.Fprintf(&out, "The node was low on resource: %s. ", r)
	if i := slices.IndexFunc(met, func(t Threshold) bool { return t.Signal.Resource() == r }); i >= 0 {
		if o, ok := seen[met[i].Signal]; ok {
			limit := met[i].Value.of(o.Capacity)
			fmt.Fprintf(&out, "Threshold quantity: %s, available: %s. ", &limit, quantity(r, o.Available))
		}
	}
	if u == nil {
		return out.String()
	}
	// Requests of the pod as a whole (KEP-2837) are named besides those of containers.
	if r == corev1.ResourceMemory && resourcehelper.IsPodLevelResourcesSet(pod) && u.Memory != nil {
		if request, ok := pod.Spec.Resources.Requests[r]; ok {
			fmt.Fprintf(&out, "Pod %s was using %s, request is %s, has larger consumption of %s. ", pod.Name, quantity(r, int64(*u.Memory)), &request, r)
		}
	}
	for _, c := range u.Containers {
		specs := slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers)
		i := slices.IndexFunc(specs, func(s corev1.Container) bool { return s.Name == c.Name })
		use := containerUse(c, r)
		if i < 0 || use == nil {
			continue // an ephemeral container can have no request
		}
		if request := specs[i].Resources.Requests[r]; use.Cmp(request) > 0 {
			fmt.Fprintf(&out, "Container %s was using %s, request is %s, has larger consumption of %s. ", c.Name, use, &request, r)
		}
	}
	return out.String()
}

// containerUse is how much a container uses of a resource; nil if that is not known, or
// not said of containers.
func containerUse(c ContainerUsage, r corev1.ResourceName) *resource.Quantity {
	switch {
	case r == corev1.ResourceMemory && c.Memory != nil:
		return quantity(r, int64(*c.Memory))
	case r == corev1.ResourceEphemeralStorage && c.Layer != nil && c.Logs != nil:
		return quantity(r, int64(c.Layer.Bytes+c.Logs.Bytes))
	}
	return nil
}
