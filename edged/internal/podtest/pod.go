package podtest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// New makes a pod: names in order, "init:" before init containers and "side:"
// before sidecars, "debug:" before ephemeral containers.
func New(policy corev1.RestartPolicy, names ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod", UID: "uid"}, Spec: corev1.PodSpec{RestartPolicy: policy}}
	always := corev1.ContainerRestartPolicyAlways
	for _, n := range names {
		kind, name, ok := strings.Cut(n, ":")
		switch {
		case !ok:
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "i"})
		case kind == "side":
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: "i", RestartPolicy: &always})
		case kind == "debug":
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "i"}})
		default:
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: "i"})
		}
	}
	return p
}

// Resources makes a list of resources from pairs of a name and a quantity. It
// panics on a quantity that is none.
func Resources(pairs ...string) corev1.ResourceList {
	out := make(corev1.ResourceList)
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}
