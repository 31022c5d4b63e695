package podspec

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// defaultGracePeriod is what the API server fills in for
// terminationGracePeriodSeconds.
const defaultGracePeriod = 30 * time.Second

// FindContainer finds a container of any kind, and reports whether it is an init
// container.
func FindContainer(pod *corev1.Pod, name string) (c *corev1.Container, init bool) {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i], false
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i], true
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return EphemeralContainer(pod, i), false
		}
	}
	return nil, false
}

// IsEphemeral reports whether an ephemeral container of the pod has this name.
func IsEphemeral(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}

// EphemeralContainer is the i-th ephemeral container of the pod in the form of a
// regular one.
func EphemeralContainer(pod *corev1.Pod, i int) *corev1.Container {
	return (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
}

// IsSidecar reports whether an init container is a sidecar (KEP-753): it starts in
// its turn and then runs beside the pod's containers.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// ContainerHash changes when a running container must be replaced: with its image.
// It has the kubelet's form, so that containers of a kubelet are adopted.
func ContainerHash(c *corev1.Container) string {
	body, err := json.Marshal(map[string]string{"name": c.Name, "image": c.Image})
	if err != nil {
		panic(fmt.Sprintf("edged: marshal of two strings: %v", err))
	}
	h := fnv.New32a()
	h.Write(body)
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

// SpecGracePeriod is the grace period of the spec, whatever a deletion asked for.
func SpecGracePeriod(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return defaultGracePeriod
}

// GracePeriod is how long the pod's containers may take to stop. A deletion may
// have shortened the period of the spec.
func GracePeriod(pod *corev1.Pod) time.Duration {
	if pod.DeletionGracePeriodSeconds != nil {
		return time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second
	}
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		return time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	return defaultGracePeriod
}

// Title names a pod as messages of events do.
func Title(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

// QOSClass is the quality of service that a pod's requests and limits ask for:
// Guaranteed if every container limits CPU and memory and requests just that,
// BestEffort if none asks for anything. What the pod asks for as a whole counts
// instead of its containers (KEP-2837).
// https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	list := []corev1.ResourceRequirements{PodResources(pod)}
	if !resourcehelper.IsPodLevelResourcesSet(pod) {
		list = nil
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			list = append(list, c.Resources)
		}
	}
	some, bound := false, true
	for _, r := range list {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, request := r.Limits[name], r.Requests[name]
			some = some || !limit.IsZero() || !request.IsZero()
			bound = bound && !limit.IsZero() && (request.IsZero() || request.Cmp(limit) == 0)
		}
	}
	switch {
	case !some:
		return corev1.PodQOSBestEffort
	case bound:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// PodResources is what the pod limits and requests as a whole; empty without.
func PodResources(pod *corev1.Pod) corev1.ResourceRequirements {
	if !resourcehelper.IsPodLevelResourcesSet(pod) {
		return corev1.ResourceRequirements{}
	}
	return *pod.Spec.Resources
}
