package shutdown

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Period is how long the pods of one range of priorities have to end.
type Period struct {
	Priority int32         // of the pods from here up to the next Period
	Grace    time.Duration // whole seconds; the group's pods are waited for so long
}

// criticalPriority is that of the priority class system-cluster-critical, from which on a
// pod is critical.
const criticalPriority = 2_000_000_000

// Periods gives the list for the two settings of a kubelet: the time of the whole
// shutdown, and the part of it that only critical pods have. A whole of 0 gives none.
func Periods(whole, critical time.Duration) []Period {
	if whole <= 0 {
		return nil
	}
	return []Period{{Priority: 0, Grace: whole - critical}, {Priority: criticalPriority, Grace: critical}}
}

// check refuses periods that cannot be kept.
func check(periods []Period) error {
	seen := make(map[int32]bool)
	for _, p := range periods {
		switch {
		case p.Grace < 0:
			return fmt.Errorf("shutdown: Config.Periods: %s for priority %d is negative: use 0 or more", p.Grace, p.Priority)
		case p.Grace%time.Second != 0:
			return fmt.Errorf("shutdown: Config.Periods: %s for priority %d: use whole seconds", p.Grace, p.Priority)
		case seen[p.Priority]:
			return fmt.Errorf("shutdown: Config.Periods: priority %d is there twice: leave one out", p.Priority)
		}
		seen[p.Priority] = true
	}
	return nil
}

// total is the delay that the periods need in sum.
func total(periods []Period) (sum time.Duration) {
	for _, p := range periods {
		sum += p.Grace
	}
	return sum
}

// group is a Period with its pods.
type group struct {
	Period
	pods []*corev1.Pod
}

// groups sorts the pods into the periods, lowest priority first. A pod belongs to the
// highest period that is not above its priority; one below all belongs to the lowest.
func groups(periods []Period, pods []*corev1.Pod) []*group {
	var out []*group
	for _, p := range periods {
		out = append(out, &group{Period: p})
	}
	slices.SortFunc(out, func(a, b *group) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, pod := range pods {
		var priority int32
		if pod.Spec.Priority != nil {
			priority = *pod.Spec.Priority
		}
		at := 0
		for i := range out {
			if out[i].Priority <= priority {
				at = i
			}
		}
		out[at].pods = append(out[at].pods, pod)
	}
	return out
}
