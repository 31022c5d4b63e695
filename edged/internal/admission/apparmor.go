package admission

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// checkAppArmor checks that the machine can confine the pod's containers as they ask. As
// in a kubelet since 1.24, whether a profile is loaded is the runtime's to say, when it
// makes the container: what loads profiles may be a pod itself, and come later.
func (f Request) checkAppArmor() *plan.Rejection {
	if !WantsAppArmor(f.Pod) {
		return nil
	}
	if !f.AppArmor {
		return reject(rejectedAppArmor, "Cannot enforce AppArmor: AppArmor is not enabled on the host")
	}
	for _, c := range allContainers(f.Pod) {
		p := podspec.AppArmorProfile(f.Pod, c)
		if p != nil && p.Type == corev1.AppArmorProfileTypeLocalhost && (p.LocalhostProfile == nil || strings.TrimSpace(*p.LocalhostProfile) == "") {
			return reject(rejectedAppArmor, fmt.Sprintf("Cannot enforce AppArmor: invalid empty AppArmor profile name of container %q: set localhostProfile", c.Name))
		}
	}
	return nil
}

// allContainers are the pod's containers of every kind.
func allContainers(pod *corev1.Pod) []*corev1.Container {
	var out []*corev1.Container
	for i := range pod.Spec.InitContainers {
		out = append(out, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		out = append(out, &pod.Spec.Containers[i])
	}
	for i := range pod.Spec.EphemeralContainers {
		out = append(out, podspec.EphemeralContainer(pod, i))
	}
	return out
}

// WantsAppArmor reports whether a container of the pod must run under an AppArmor
// profile.
func WantsAppArmor(pod *corev1.Pod) bool {
	is := func(p *corev1.AppArmorProfile) bool {
		return p != nil && p.Type != corev1.AppArmorProfileTypeUnconfined
	}
	if sc := pod.Spec.SecurityContext; sc != nil && is(sc.AppArmorProfile) {
		return true
	}
	return slices.ContainsFunc(allContainers(pod), func(c *corev1.Container) bool { return is(podspec.AppArmorProfile(pod, c)) })
}
