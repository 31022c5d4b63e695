package eviction

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// The signals of pods that use more local storage than they may, in the metric of
// evictions.
const (
	EmptyDirLimit  Signal = "emptydirfs.limit"
	PodLimit       Signal = "ephemeralpodfs.limit"
	ContainerLimit Signal = "ephemeralcontainerfs.limit"
)

// Excess is a limit of local storage that a pod does not keep.
type Excess struct {
	Signal  Signal
	Message string
}

// LimitsDisk reports whether a pod has a limit of local storage, so that its usage must
// be measured. layers says that the usage of writable layers counts, too.
func LimitsDisk(pod *corev1.Pod) (limits, layers bool) {
	for _, v := range pod.Spec.Volumes {
		limits = limits || sizeLimited(v)
	}
	layers = len(containerLimits(pod)) > 0
	if _, ok := podLimit(pod); ok {
		layers = true
	}
	return limits || layers, layers
}

// CheckLimits finds the first limit of local storage that a pod exceeds; nil if it keeps
// all: the sizes of its emptyDir volumes, its own limit, those of its containers.
// https://kubernetes.io/docs/concepts/storage/ephemeral-storage/#resource-emphemeralstorage-consumption
func CheckLimits(pod *corev1.Pod, u Usage, l Layout) *Excess {
	for _, v := range pod.Spec.Volumes {
		if limit := v.EmptyDir; sizeLimited(v) && limit.SizeLimit.CmpInt64(int64(u.Volumes[v.Name].Bytes)) < 0 {
			return &Excess{EmptyDirLimit, fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, limit.SizeLimit)}
		}
	}
	if limit, ok := podLimit(pod); ok {
		var all Disk
		for i := range u.Containers {
			all.add(u.Containers[i].Layer)
			all.add(u.Containers[i].Logs)
		}
		for _, v := range u.Volumes {
			all.add(&v)
		}
		if limit.CmpInt64(int64(all.Bytes)) < 0 {
			return &Excess{PodLimit, fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", &limit)}
		}
	}
	limits := containerLimits(pod)
	for i := range u.Containers {
		c := &u.Containers[i]
		limit, ok := limits[c.Name]
		if !ok {
			continue
		}
		var use Disk
		use.add(c.Logs)
		if !l.Images { // else what it wrote is on another disk than the one that is limited
			use.add(c.Layer)
		}
		if limit.CmpInt64(int64(use.Bytes)) < 0 {
			return &Excess{ContainerLimit, fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, &limit)}
		}
	}
	return nil
}

// sizeLimited reports whether a volume is an emptyDir on the disk with a limit. One in
// memory is limited by the kernel.
func sizeLimited(v corev1.Volume) bool {
	e := v.EmptyDir
	return e != nil && e.Medium == corev1.StorageMediumDefault && e.SizeLimit != nil && e.SizeLimit.Sign() > 0
}

// podLimit is the limit of the pod as a whole: the sum of those of its containers.
func podLimit(pod *corev1.Pod) (limit resource.Quantity, ok bool) {
	limit, ok = resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]
	return limit, ok
}

// containerLimits are the limits of the containers that run as long as the pod.
func containerLimits(pod *corev1.Pod) map[string]resource.Quantity {
	out := make(map[string]resource.Quantity)
	note := func(c *corev1.Container) {
		if q := c.Resources.Limits[corev1.ResourceEphemeralStorage]; !q.IsZero() {
			out[c.Name] = q
		}
	}
	for i := range pod.Spec.Containers {
		note(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if podspec.IsSidecar(&pod.Spec.InitContainers[i]) {
			note(&pod.Spec.InitContainers[i])
		}
	}
	return out
}
