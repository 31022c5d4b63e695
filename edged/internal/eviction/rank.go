package eviction

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/edgekit/edgekit/edged/static"
)

// Usage is what a pod uses. What is not known is nil, or not there.
type Usage struct {
	Memory     *uint64 // bytes of its working set
	Processes  *uint64
	Containers []ContainerUsage
	Volumes    map[string]Disk // those that lie on the node's own disk
}

// ContainerUsage is what a container of a pod uses.
type ContainerUsage struct {
	Name   string
	Memory *uint64 // bytes of its working set
	Layer  *Disk   // what it wrote into its own file system
	Logs   *Disk
}

// Disk is what is used of a file system.
type Disk struct{ Bytes, Inodes uint64 }

// add adds another usage; nil is none.
func (d *Disk) add(o *Disk) {
	if o != nil {
		d.Bytes += o.Bytes
		d.Inodes += o.Inodes
	}
}

// firstCritical is the priority from which on a pod is critical: that of
// system-cluster-critical.
const firstCritical = 2_000_000_000

// IsCritical reports whether a pod is neither evicted nor refused: it is static, or of
// the priority of system-cluster-critical or above.
func IsCritical(pod *corev1.Pod) bool {
	return static.Is(pod) || static.IsMirror(pod) || pod.Spec.Priority != nil && *pod.Spec.Priority >= firstCritical
}

// Rank orders pods by who has to leave first when a signal's threshold is met: those
// that use more than they request, then those of lower priority, then those that use
// most beyond their request. For process ids the priority comes first. A pod of which no
// usage is known comes before all others.
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#pod-selection-for-kubelet-eviction
func Rank(pods []*corev1.Pod, usage map[types.UID]Usage, s Signal, l Layout) []*corev1.Pod {
	type candidate struct {
		pod     *corev1.Pod
		unknown bool
		beyond  int64 // usage less request
	}
	list := make([]candidate, 0, len(pods))
	for _, p := range pods {
		u, ok := usage[p.UID]
		list = append(list, candidate{p, !ok, used(u, s, l) - requested(p, s)})
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		if s == PIDAvailable {
			return cmp.Or(cmp.Compare(priority(a.pod), priority(b.pod)), trueFirst(a.unknown, b.unknown), cmp.Compare(b.beyond, a.beyond))
		}
		return cmp.Or(
			trueFirst(a.unknown, b.unknown), trueFirst(a.beyond > 0, b.beyond > 0),
			cmp.Compare(priority(a.pod), priority(b.pod)), cmp.Compare(b.beyond, a.beyond),
		)
	})
	out := make([]*corev1.Pod, len(list))
	for i, c := range list {
		out[i] = c.pod
	}
	return out
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// requested is the pod's request of what the signal is about. Nobody requests inodes or
// process ids.
func requested(pod *corev1.Pod, s Signal) int64 {
	q, ok := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})[s.Resource()]
	if !ok {
		return 0
	}
	return q.Value()
}

// used is how much of what the signal is about the pod uses.
func used(u Usage, s Signal, l Layout) int64 {
	value := func(n *uint64) int64 {
		if n == nil {
			return 0
		}
		return int64(*n)
	}
	switch {
	case s == PIDAvailable:
		return value(u.Processes)
	case !s.IsDisk():
		return value(u.Memory)
	}
	d := diskOf(u, s, l)
	if s.Resource() == resourceInodes {
		return int64(d.Inodes)
	}
	return int64(d.Bytes)
}

// diskOf is what the pod uses of the signal's file system: logs and local volumes are on
// nodefs, writable layers where Layout says.
func diskOf(u Usage, s Signal, l Layout) Disk {
	ofImages := l.Images && (s == ImageFsAvailable || s == ImageFsInodesFree)
	layers, rest := true, !ofImages
	if l.Images {
		layers = ofImages != l.Split // beside volumes where they are apart from images
	}
	var d Disk
	for i := range u.Containers {
		if layers {
			d.add(u.Containers[i].Layer)
		}
		if rest {
			d.add(u.Containers[i].Logs)
		}
	}
	for _, v := range u.Volumes {
		if rest {
			d.add(&v)
		}
	}
	return d
}
