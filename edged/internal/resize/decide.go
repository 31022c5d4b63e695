package resize

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// Request is one change that is asked for.
type Request struct {
	Desired   *corev1.Pod // as its spec asks
	Allocated *corev1.Pod // the same pod with what it was granted
	// Full is why the node has no room for it: the reason and the message of an
	// admission. The zero value means that it has.
	Full      Reason
	CanResize bool // the runtime can change containers
	// PinnedCPUs and PinnedMemory report that containers of Guaranteed pods get CPUs and
	// memory of their own: the policies static and Static of the kubelet's managers.
	PinnedCPUs, PinnedMemory bool
	// Swaps reports whether a container of the pod may use swap.
	Swaps func(pod *corev1.Pod, c *corev1.Container) bool
}

// Reason is why a change is not granted, in the words of the API.
type Reason struct{ Reason, Message string }

// Verdict is what a node says to a change.
type Verdict struct {
	// Reason is why it is not granted: Infeasible, or any other, which means that
	// it is deferred. "" grants it.
	Reason, Message string
	Detail          string // of an infeasible one, for the metric
}

// The details of infeasible changes: the kubelet's, but for detailRuntime.
const (
	detailSwap    = "swap_limitation"
	detailRuntime = "runtime_limitation"
	detailCPUs    = "guaranteed_pod_cpu_manager_static_policy"
	detailMemory  = "guaranteed_pod_memory_manager_static_policy"
)

// Decide says whether the node grants a change: pkg/kubelet/allocation of Kubernetes
// 1.37 has the rules. What is larger than the whole node is deferred like all that
// has no room now.
func Decide(r Request) Verdict {
	if !r.CanResize {
		return Verdict{corev1.PodReasonInfeasible, "the container runtime cannot change the resources of containers: delete the pod to have it made with the new ones", detailRuntime}
	}
	if changesSwap(r) {
		return Verdict{corev1.PodReasonInfeasible, "In-place resize of containers with swap is not supported.", detailSwap}
	}
	// InPlacePodVerticalScalingExclusiveCPUs and ...ExclusiveMemory are off in 1.37.
	if podspec.QOSClass(r.Desired) == corev1.PodQOSGuaranteed {
		if r.PinnedCPUs && changes(r, corev1.ResourceCPU) {
			return Verdict{corev1.PodReasonInfeasible, `Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"`, detailCPUs}
		}
		if r.PinnedMemory && changes(r, corev1.ResourceMemory) {
			return Verdict{corev1.PodReasonInfeasible, `Resize is infeasible for Guaranteed Pods alongside Memory Manager policy "Static"`, detailMemory}
		}
	}
	if r.Full.Reason != "" {
		return Verdict{Reason: r.Full.Reason, Message: r.Full.Message}
	}
	return Verdict{}
}

// changes reports whether a container requests another amount than before.
func changes(r Request, name corev1.ResourceName) bool {
	for _, list := range [][]corev1.Container{r.Desired.Spec.Containers, r.Desired.Spec.InitContainers} {
		for i := range list {
			have, _ := podspec.FindContainer(r.Allocated, list[i].Name)
			if have == nil {
				continue
			}
			x, y := have.Resources.Requests[name], list[i].Resources.Requests[name]
			if x.Cmp(y) != 0 {
				return true
			}
		}
	}
	return false
}

// changesSwap reports whether the memory request of a container changes that uses
// swap, and the container would not restart for it: the request decides how much
// swap it gets.
func changesSwap(r Request) bool {
	for _, list := range [][]corev1.Container{r.Desired.Spec.Containers, r.Desired.Spec.InitContainers} {
		for i := range list {
			want := &list[i]
			have, _ := podspec.FindContainer(r.Allocated, want.Name)
			if have == nil {
				continue
			}
			x, y := have.Resources.Requests[corev1.ResourceMemory], want.Resources.Requests[corev1.ResourceMemory]
			restarts := slices.ContainsFunc(have.ResizePolicy, func(p corev1.ContainerResizePolicy) bool {
				return p.ResourceName == corev1.ResourceMemory && p.RestartPolicy == corev1.RestartContainer
			})
			if x.Cmp(y) != 0 && !restarts && (r.Swaps(r.Desired, want) || r.Swaps(r.Allocated, have)) {
				return true
			}
		}
	}
	return false
}

// Pending is a change that was not granted yet.
type Pending struct {
	Desired, Allocated *corev1.Pod
	Since              time.Time // when it was first deferred; zero if it was not
}

// Order sorts changes as they are to be tried: first those that request no more than
// before, which always have room, then by priority, by class, and by how long they
// have waited.
func Order(all []Pending) {
	rank := func(p Pending) (more int, priority int32, class int) {
		if increases(p.Allocated, p.Desired) {
			more = 1
		}
		if q := p.Desired.Spec.Priority; q != nil {
			priority = *q
		}
		if podspec.QOSClass(p.Desired) != corev1.PodQOSGuaranteed {
			class = 1
		}
		return more, priority, class
	}
	slices.SortStableFunc(all, func(a, b Pending) int {
		aMore, aPriority, aClass := rank(a)
		bMore, bPriority, bClass := rank(b)
		return cmp.Or(cmp.Compare(aMore, bMore), cmp.Compare(bPriority, aPriority), cmp.Compare(aClass, bClass), compareSince(a.Since, b.Since))
	})
}

// compareSince puts the one first that waits longer. One that does not wait yet is
// last.
func compareSince(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	}
	return a.Compare(b)
}

// The reasons of events about changes of resources; the kubelet's.
const (
	EventStarted    = "ResizeStarted"
	EventCompleted  = "ResizeCompleted"
	EventError      = "ResizeError"
	EventDeferred   = "ResizeDeferred"
	EventInfeasible = "ResizeInfeasible"
)

// EventMessage is the text of an event about a change: a heading and, as JSON, what
// the containers of the pod ask for.
func EventMessage(heading string, pod *corev1.Pod, generation int64, failure string) string {
	type container struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	}
	var all struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}
	all.Generation, all.Error = generation, failure
	for _, c := range pod.Spec.InitContainers {
		all.InitContainers = append(all.InitContainers, container{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		all.Containers = append(all.Containers, container{c.Name, c.Resources})
	}
	text, err := json.Marshal(all)
	if err != nil {
		return heading
	}
	return heading + ": " + string(text)
}
