package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Restarting all containers of a pod in place (KEP-5532): a container whose exit matches a
// rule with the action RestartAllContainers has all containers of the pod killed and
// removed, also itself. Then the pod starts as it did at first, in the same sandbox, with
// the same volumes, and with its init containers. Restart counts go on.
//
// Containers that matched are removed last. So a crash in between leaves one of them, and
// the next decision goes on.

// RetryRestartAll is the key in Situation.Retry of what removes the containers.
const RetryRestartAll = "/restart-all"

// What statuses show meanwhile, in the kubelet's words.
const (
	reasonRestartingAll  = "RestartingAllContainers"
	messageRestartingAll = "The container is removed because RestartAllContainers in place"
)

// matchingRule is the first restart rule of a container that matches an exit code; nil if
// none does.
func matchingRule(c *corev1.Container, code int32) *corev1.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		rule := &c.RestartPolicyRules[i]
		if rule.ExitCodes == nil {
			continue
		}
		listed := slices.Contains(rule.ExitCodes.Values, code)
		in := rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn
		if listed == in {
			return rule
		}
	}
	return nil
}

// mayRestartAll reports whether a container has a rule with the action
// RestartAllContainers.
func mayRestartAll(c *corev1.Container) bool {
	return slices.ContainsFunc(c.RestartPolicyRules, func(r corev1.ContainerRestartRule) bool {
		return r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
	})
}

// podMayRestartAll reports whether any container of the pod has such a rule.
func podMayRestartAll(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return mayRestartAll(&c) }) ||
		slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return mayRestartAll(&c) })
}

// asksRestartAll reports whether a container exited so that all must restart.
func asksRestartAll(spec *corev1.Container, c *runtime.Container) bool {
	if c.State != runtime.ContainerExited {
		return false
	}
	rule := matchingRule(spec, c.ExitCode)
	return rule != nil && rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers
}

// restartsAll reports whether the newest container of some name, in the pod's sandbox,
// exited so that all must restart.
func restartsAll(pod *corev1.Pod, v View) bool {
	box := v.Sandbox()
	if box == nil || !podMayRestartAll(pod) {
		return false
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if c := v.latestIn(box.ID, list[i].Name); c != nil && asksRestartAll(&list[i], c) {
				return true
			}
		}
	}
	return false
}

// planRestartAll removes all containers of the pod where one asks for it, and reports
// whether that, or the pause after it, is all there is to do now.
func planRestartAll(s Situation) (Decision, bool) {
	if !restartsAll(s.Pod, s.View) {
		if s.Now.Before(s.RestartAllUntil) && !slices.ContainsFunc(s.View.Containers, func(c runtime.Container) bool { return !podspec.IsEphemeral(s.Pod, c.Name) }) {
			return Decision{Wake: s.RestartAllUntil}, true
		}
		return Decision{}, false
	}
	d := Decision{RetryKey: RetryRestartAll}
	if until, ok := s.Retry[RetryRestartAll]; ok && s.Now.Before(until) {
		d.wakeAt(until)
		return d, true
	}
	var sources []Action
	for _, list := range [][]corev1.Container{s.Pod.Spec.Containers, s.Pod.Spec.InitContainers} {
		for i := range list {
			spec := &list[i]
			for j := range s.View.Containers {
				c := &s.View.Containers[j]
				remove := Action{Kind: ActRemove, ID: c.ID, Name: c.Name}
				switch {
				case c.Name != spec.Name:
				case asksRestartAll(spec, c):
					sources = append(sources, remove)
				default:
					if c.State == runtime.ContainerRunning || c.State == runtime.ContainerUnknown {
						d.add(Action{Kind: ActKill, ID: c.ID, Name: c.Name, Reason: fmt.Sprintf("Container %s is killed because of RestartAllContainers", c.Name)})
					}
					d.add(remove)
				}
			}
		}
	}
	d.add(Action{Kind: ActNoteRestartAll})
	d.add(sources...)
	return d, true
}

// RestartAllBackOff is the pause before the containers start again, for a pod whose last
// pause was delay and that ran for so long since: none the first time, then as for
// containers that crash.
func RestartAllBackOff(delay, ran time.Duration) time.Duration {
	switch {
	case ran < 0, ran > backOffReset: // it never restarted, or ran well
		return 0
	case delay == 0:
		return InitialBackOff
	}
	return min(2*delay, MaxBackOff)
}

// restartingAll is the condition AllContainersRestarting.
func restartingAll(f Facts, st *corev1.PodStatus) corev1.PodCondition {
	cond := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
	switch {
	case st.Phase == corev1.PodSucceeded:
		cond.Reason = "PodCompleted"
	case st.Phase == corev1.PodFailed:
		cond.Reason = "PodFailed"
	case restartsAll(f.Pod, f.View):
		cond.Status, cond.Reason, cond.Message = corev1.ConditionTrue, "RestartAllContainersStarted", "container exited with restart policy rule"
	}
	return cond
}

// showRestartingAll says of a container that the runtime does not have that it was removed
// to restart, where that is so and nothing newer keeps it from starting.
func showRestartingAll(f Facts, st, last *corev1.ContainerStatus) {
	if _, waits := f.Waiting[st.Name]; !waits && !f.Final && st.LastTerminationState.Terminated != nil && wasRestartingAll(f, last) {
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: reasonRestartingAll, Message: messageRestartingAll}
	}
}

// wasRestartingAll reports whether the containers that the runtime does not have were
// removed to restart: they are being removed now, or were when this was last reported.
func wasRestartingAll(f Facts, last *corev1.ContainerStatus) bool {
	if restartsAll(f.Pod, f.View) {
		return true
	}
	if last.State.Waiting != nil && last.State.Waiting.Reason == reasonRestartingAll {
		return true
	}
	return slices.ContainsFunc(lastConditions(f), func(c corev1.PodCondition) bool {
		return c.Type == corev1.AllContainersRestarting && c.Status == corev1.ConditionTrue
	})
}
