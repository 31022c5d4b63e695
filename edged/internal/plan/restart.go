package plan

import (
	"cmp"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// The back-off between the restarts of a container that keeps exiting:
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
const (
	InitialBackOff = 10 * time.Second
	MaxBackOff     = 5 * time.Minute // unless it is set lower (KEP-4603)
	backOffReset   = 2 * MaxBackOff  // a container that ran this long starts afresh
)

// restarts decides whether a container that exited with code runs again. The rules
// of the container come first (KEP-5307), then its own policy, then that of the
// pod. Init containers that succeeded do not run again, except sidecars (KEP-753).
func restarts(pod *corev1.Pod, c *corev1.Container, code int32, init bool) bool {
	if rule := matchingRule(c, code); rule != nil {
		switch rule.Action {
		case corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers:
			return true
		}
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return !init || code != 0 || podspec.IsSidecar(c)
}

// backOffAfter reads how long the successor of a container waits after its exit.
// The delay is an annotation of the container, so that it survives a restart of
// the agent. A container that ran for 10 minutes starts afresh, as the API says. most
// is the longest delay, 0 means MaxBackOff.
func backOffAfter(c *runtime.Container, most time.Duration) time.Duration {
	d, err := time.ParseDuration(c.Annotations[runtime.AnnotationBackOff])
	if err != nil || d < 0 || c.Finished.Sub(c.Created) > backOffReset {
		return 0
	}
	return min(d, cmp.Or(most, MaxBackOff))
}

// backOffUntil is when the successor of c may start. An exit in the future proves
// that the clock was set back since. It would keep the pod down for as long, so it
// does not count.
func backOffUntil(c *runtime.Container, now time.Time, most time.Duration) time.Time {
	if c.Finished.After(now.Add(time.Second)) {
		return now
	}
	return c.Finished.Add(backOffAfter(c, most))
}

// nextBackOff is the delay that is noted on the successor of c: 10 seconds after
// the first crash, then doubled up to most. c is nil for a first container.
func nextBackOff(c *runtime.Container, most time.Duration) time.Duration {
	if c == nil {
		return 0
	}
	d := backOffAfter(c, most)
	if d == 0 {
		return min(InitialBackOff, cmp.Or(most, MaxBackOff))
	}
	return min(2*d, cmp.Or(most, MaxBackOff))
}

// AsStopped is a running container as it will be once it is killed, at now. Any
// other container is returned as it is.
func AsStopped(c *runtime.Container, now time.Time) *runtime.Container {
	if c == nil || c.State != runtime.ContainerRunning {
		return c
	}
	ended := *c
	ended.State, ended.Finished = runtime.ContainerExited, now
	return &ended
}

// SuccessorBackOff is the delay that is noted on the successor of prev. A
// container that was lost with its sandbox hands on its own delay: it did not
// crash. most is the longest delay, 0 means MaxBackOff.
func SuccessorBackOff(v View, prev *runtime.Container, most time.Duration) time.Duration {
	if prev != nil && v.lost(prev) {
		return backOffAfter(prev, most)
	}
	return nextBackOff(prev, most)
}

// restartCount is how often a container was started again. The count that the
// runtime keeps comes first. status is what was reported last, for a container
// that the runtime has lost; the count never goes down.
func restartCount(c *runtime.Container, status *corev1.ContainerStatus) int32 {
	count := int32(0)
	if c != nil {
		count = int32(min(c.Attempt, 1<<30))
		if n, err := strconv.ParseInt(c.Annotations[runtime.AnnotationRestartCount], 10, 32); err == nil && n >= 0 {
			count = int32(n)
		}
	}
	if status != nil {
		count = max(count, status.RestartCount)
	}
	return count
}
