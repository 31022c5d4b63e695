package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// ConditionTokenExpired is a condition of pods: True while a service account token
// of the pod has expired and cannot be renewed because the cloud is out of reach.
// The pod runs on with it. Otherwise the pod has no such condition.
const ConditionTokenExpired corev1.PodConditionType = "edgekit.io/TokenExpired"

// TokenExpired reports whether the last status has the condition
// ConditionTokenExpired.
func TokenExpired(last *corev1.PodStatus) bool {
	return last != nil && slices.ContainsFunc(last.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == ConditionTokenExpired && c.Status == corev1.ConditionTrue
	})
}

// conditions computes the conditions of a pod that the node decides, and no
// others. The others belong to somebody else, who may have changed them since the
// node last heard of them. A condition keeps the time of its last transition while
// its status stays:
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
func conditions(f Facts, st *corev1.PodStatus) []corev1.PodCondition {
	containers := containersReady(f, st)
	list := []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: truth(sandboxReady(f))},
		initialized(f, st),
		ready(f, containers),
		containers,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	if podMayRestartAll(f.Pod) {
		list = append(list, restartingAll(f, st))
	}
	if f.Held && !IsTerminal(st.Phase) {
		list = append(list, heldUpgrade())
	}
	if f.Expired && !IsTerminal(st.Phase) {
		list = append(list, corev1.PodCondition{
			Type: ConditionTokenExpired, Status: corev1.ConditionTrue, Reason: "CloudOutOfReach",
			Message: "A service account token or a certificate of the pod has expired; it is renewed when the cloud is in reach again.",
		})
	}
	if c := disruption(f, st); c != nil {
		list = append(list, *c)
	}
	list = append(list, resizeConditions(f, st)...)
	for i := range list {
		c := &list[i]
		if !isResize(c.Type) {
			c.ObservedGeneration = f.Pod.Generation
		}
		c.LastTransitionTime = metav1.NewTime(f.Now)
		for _, old := range [][]corev1.PodCondition{lastConditions(f), f.Pod.Status.Conditions} {
			if j := slices.IndexFunc(old, func(o corev1.PodCondition) bool { return o.Type == c.Type }); j >= 0 {
				if old[j].Status == c.Status && (!isResize(c.Type) || old[j].Reason == c.Reason) {
					c.LastTransitionTime = old[j].LastTransitionTime
				}
				break
			}
		}
	}
	return list
}

// disruption is the condition DisruptionTarget of a pod that the node evicts because it
// is short of something (KEP-3329); nil without. It stays after the pod has ended, so
// that a controller that looks later does not count the end as a failure of the program.
func disruption(f Facts, st *corev1.PodStatus) *corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet}
	if r := f.Rejected; r != nil && r.Disrupts && st.Phase == corev1.PodFailed && st.Reason == r.Reason {
		c.Message = cmp.Or(r.Disruption, r.Message)
		return &c
	}
	for _, old := range [][]corev1.PodCondition{lastConditions(f), f.Pod.Status.Conditions} {
		i := slices.IndexFunc(old, func(o corev1.PodCondition) bool {
			return o.Type == c.Type && o.Reason == c.Reason && o.Status == c.Status
		})
		if i >= 0 && IsTerminal(st.Phase) {
			c.Message = old[i].Message
			return &c
		}
	}
	return nil
}

// resizeConditions are the conditions about a change of the pod's resources
// (KEP-1287). They are about the spec that they name, and True as long as they are
// there.
func resizeConditions(f Facts, st *corev1.PodStatus) []corev1.PodCondition {
	if IsTerminal(st.Phase) {
		return nil
	}
	var list []corev1.PodCondition
	add := func(t corev1.PodConditionType, c *ResizeCondition) {
		if c != nil {
			list = append(list, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, Reason: c.Reason, Message: c.Message, ObservedGeneration: c.Generation})
		}
	}
	add(corev1.PodResizePending, f.Pending)
	add(corev1.PodResizeInProgress, f.InProgress)
	return list
}

func isResize(t corev1.PodConditionType) bool {
	return t == corev1.PodResizePending || t == corev1.PodResizeInProgress
}

// lastConditions are the conditions of the last report.
func lastConditions(f Facts) []corev1.PodCondition {
	if f.Last == nil {
		return nil
	}
	return f.Last.Conditions
}

// truth is a bool as the status of a condition.
func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// sandboxReady reports whether the pod has a sandbox with a network: the condition
// PodReadyToStartContainers (KEP-3085).
func sandboxReady(f Facts) bool {
	sb := f.View.Sandbox()
	return sb != nil && sb.Ready && (f.Pod.Spec.HostNetwork || len(sb.IPs) > 0)
}

// initialized is the condition Initialized: all init containers have succeeded,
// and all sidecars have started. It stays True once a regular container has run.
func initialized(f Facts, st *corev1.PodStatus) corev1.PodCondition {
	cond := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if st.Phase == corev1.PodSucceeded {
		cond.Reason = "PodCompleted"
		return cond
	}
	var missing []string
	for i := range st.InitContainerStatuses {
		s := &st.InitContainerStatuses[i]
		if hasStarted(st) {
			break
		}
		if podspec.IsSidecar(&f.Pod.Spec.InitContainers[i]) && (s.Started == nil || !*s.Started) || !podspec.IsSidecar(&f.Pod.Spec.InitContainers[i]) && !s.Ready {
			missing = append(missing, s.Name)
		}
	}
	if len(missing) > 0 {
		cond.Status, cond.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		cond.Message = fmt.Sprintf("containers with incomplete status: %s", missing)
	}
	return cond
}

// containersReady is the condition ContainersReady: every regular container and
// every sidecar is ready. A pod that has finished is not ready.
func containersReady(f Facts, st *corev1.PodStatus) corev1.PodCondition {
	cond := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	var unready []string
	for i := range st.InitContainerStatuses {
		if podspec.IsSidecar(&f.Pod.Spec.InitContainers[i]) && !st.InitContainerStatuses[i].Ready {
			unready = append(unready, st.InitContainerStatuses[i].Name)
		}
	}
	for i := range f.Pod.Spec.Containers {
		if s := FindStatus(st, f.Pod.Spec.Containers[i].Name); !s.Ready {
			unready = append(unready, s.Name)
		}
	}
	switch {
	case st.Phase == corev1.PodSucceeded:
		cond.Reason = "PodCompleted"
	case st.Phase == corev1.PodFailed:
		cond.Reason = "PodFailed"
	case len(unready) > 0:
		explainUnready(&cond, unready)
	default:
		cond.Status = corev1.ConditionTrue
	}
	return cond
}

// explainUnready says in a condition which containers are not ready.
func explainUnready(c *corev1.PodCondition, names []string) {
	c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", names)
}

// ready is the condition Ready: that of the containers, and all readiness gates
// (KEP-580), whose conditions others set.
func ready(f Facts, containers corev1.PodCondition) corev1.PodCondition {
	cond := containers
	cond.Type = corev1.PodReady
	if cond.Status != corev1.ConditionTrue {
		return cond
	}
	var why []string
	for _, gate := range f.Pod.Spec.ReadinessGates {
		i := slices.IndexFunc(f.Pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == gate.ConditionType })
		switch {
		case i < 0:
			why = append(why, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case f.Pod.Status.Conditions[i].Status != corev1.ConditionTrue:
			why = append(why, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, f.Pod.Status.Conditions[i].Status))
		}
	}
	if len(why) > 0 {
		cond.Status, cond.Reason, cond.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(why, ", ")
	}
	return cond
}
