package resize

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
)

// Change is a running container whose resources are to change.
type Change struct {
	ID, Name string
	From, To Amounts
}

// Step is one thing to do: it sets limits of the pod's cgroup, or one resource of a
// container.
type Step struct {
	Resource  corev1.ResourceName // cpu or memory
	Container *Change             // nil: the pod's cgroup
	Limits    cgroup.Limits       // of the pod's cgroup
}

func (s Step) String() string {
	if s.Container != nil {
		return fmt.Sprintf("%s of %s", s.Resource, s.Container.Name)
	}
	var what []string
	if s.Limits.Memory != 0 {
		what = append(what, fmt.Sprintf("memory=%d", s.Limits.Memory))
	}
	if s.Limits.CPUQuota != 0 {
		what = append(what, fmt.Sprintf("quota=%d", s.Limits.CPUQuota))
	}
	if s.Limits.CPUShares != 0 {
		what = append(what, fmt.Sprintf("shares=%d", s.Limits.CPUShares))
	}
	for _, file := range slices.Sorted(maps.Keys(s.Limits.Unified)) {
		what = append(what, file+"="+s.Limits.Unified[file])
	}
	return "pod " + strings.Join(what, " ")
}

// Steps lists what to do, in order, to get a pod's cgroup from its current limits to
// those wanted and its containers with it. Memory comes before CPU. The cgroup of the
// pod is raised before its containers and lowered after them; among the containers
// those that get less come first. So at no moment do the containers have more than
// their pod. A limit that is wanted no more stays, as in a kubelet.
func Steps(current, desired cgroup.Limits, changes []Change) []Step {
	if desired.Memory == 0 {
		desired.Memory = current.Memory
	}
	if desired.CPUQuota == 0 {
		desired.CPUQuota, desired.CPUPeriod = current.CPUQuota, current.CPUPeriod
	}
	var steps []Step
	pod := func(name corev1.ResourceName, l cgroup.Limits) {
		steps = append(steps, Step{Resource: name, Limits: l})
	}

	memory := cgroup.Limits{Memory: desired.Memory, Unified: desired.Unified}
	grows, shrinks := compare(current.Memory, desired.Memory)
	if grows {
		pod(corev1.ResourceMemory, memory)
	}
	steps = append(steps, containerSteps(corev1.ResourceMemory, changes)...)
	if shrinks {
		pod(corev1.ResourceMemory, memory)
	} else if !grows && len(desired.Unified) > 0 {
		pod(corev1.ResourceMemory, cgroup.Limits{Unified: desired.Unified})
	}

	quota := cgroup.Limits{CPUQuota: desired.CPUQuota, CPUPeriod: desired.CPUPeriod}
	shares := cgroup.Limits{CPUShares: desired.CPUShares}
	grows, shrinks = compare(current.CPUQuota, desired.CPUQuota)
	if grows {
		pod(corev1.ResourceCPU, quota)
	}
	if desired.CPUShares > current.CPUShares {
		pod(corev1.ResourceCPU, shares)
	}
	steps = append(steps, containerSteps(corev1.ResourceCPU, changes)...)
	if desired.CPUShares < current.CPUShares {
		pod(corev1.ResourceCPU, shares)
	}
	if shrinks {
		pod(corev1.ResourceCPU, quota)
	}
	return steps
}

// compare compares two limits. None, which is -1, is more than all; 0 is not known.
func compare(from, to int64) (grows, shrinks bool) {
	if from == 0 || to == 0 {
		return from != to, false
	}
	size := func(n int64) int64 {
		if n < 0 {
			return math.MaxInt64
		}
		return n
	}
	return size(to) > size(from), size(to) < size(from)
}

// containerSteps changes one resource of the containers: those first that get less.
func containerSteps(name corev1.ResourceName, changes []Change) []Step {
	type ranked struct {
		less bool
		step Step
	}
	var all []ranked
	for i := range changes {
		c := &changes[i]
		from, to := [2]int64{c.From.MemoryLimit, c.From.MemoryRequest}, [2]int64{c.To.MemoryLimit, c.To.MemoryRequest}
		if name == corev1.ResourceCPU {
			from, to = [2]int64{c.From.CPULimit, c.From.CPURequest}, [2]int64{c.To.CPULimit, c.To.CPURequest}
		}
		if from == to {
			continue
		}
		less := to[0] < from[0] || to[0] == from[0] && to[1] < from[1]
		all = append(all, ranked{less, Step{Resource: name, Container: c}})
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(order(a.less), order(b.less)) })
	var out []Step
	for _, r := range all {
		out = append(out, r.step)
	}
	return out
}

func order(less bool) int {
	if less {
		return 0
	}
	return 1
}

// Usage is the memory that a pod uses, in bytes. What is not known is nil, or missing.
type Usage struct {
	Pod        *int64
	Containers map[string]int64
}

// Shrinks reports whether a memory limit is lowered or added, so that it must be
// known how much memory is used.
func Shrinks(current, desired cgroup.Limits, changes []Change) bool {
	return lowersPod(current, desired) || slices.ContainsFunc(changes, lowers)
}

func lowersPod(current, desired cgroup.Limits) bool {
	_, shrinks := compare(current.Memory, desired.Memory)
	return desired.Memory > 0 && shrinks
}

func lowers(c Change) bool {
	return c.To.MemoryLimit != 0 && (c.From.MemoryLimit == 0 || c.To.MemoryLimit < c.From.MemoryLimit)
}

// CheckUsage refuses a memory limit below what is used: the kernel would kill for it.
func CheckUsage(current, desired cgroup.Limits, changes []Change, used Usage) error {
	var why []string
	if lowersPod(current, desired) {
		switch {
		case used.Pod == nil:
			why = append(why, "missing pod memory usage")
		case *used.Pod >= desired.Memory:
			why = append(why, fmt.Sprintf("attempting to set pod memory limit (%d) below current usage (%d)", desired.Memory, *used.Pod))
		}
	}
	for _, c := range changes {
		if !lowers(c) {
			continue
		}
		switch n, ok := used.Containers[c.Name]; {
		case !ok:
			why = append(why, fmt.Sprintf("missing container %q memory usage", c.Name))
		case n >= c.To.MemoryLimit:
			why = append(why, fmt.Sprintf("attempting to set container %q memory limit (%d) below current usage (%d)", c.Name, c.To.MemoryLimit, n))
		}
	}
	if len(why) == 0 {
		return nil
	}
	text := strings.Join(why, ", ")
	if len(why) > 1 {
		text = "[" + text + "]"
	}
	return errors.New("cannot decrease memory limits: " + text)
}
