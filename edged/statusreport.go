package edged

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/devicehealth"
	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/static"
)

// announceBackOffs records an event for each container whose restart begins to
// wait: it is how people, and their alerts, learn of a crash loop.
func (w *worker) announceBackOffs(now map[string]plan.BackOff) {
	pod := w.spec()
	for name, b := range now {
		if w.backOffs[name] != b {
			w.a.events.Container(pod, name, corev1.EventTypeWarning, "BackOff",
				fmt.Sprintf("Back-off restarting failed container %s in pod %s", name, podspec.Title(pod)))
		}
	}
}

// facts gathers what the pod's status is computed from.
func (w *worker) facts(s plan.Situation, final bool) plan.Facts {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := plan.Facts{
		Pod: w.pod, Last: w.last, Now: s.Now, Start: w.start, View: s.View, Readiness: make(map[string]plan.Readiness), Messages: w.reader.Messages(),
		Waiting: maps.Clone(w.mem.Waiting), BackOffs: w.backOffs, Runtime: *w.a.runtime.Load(), HostIPs: w.a.node.Addresses(), Final: final, Rejected: w.rejected, Refused: w.mem.Refused,
		Expired: w.mem.Expired, Held: s.Held, Alive: w.alive || w.starting() || w.a.usesClaims(w.pod.UID),
		Allocated: w.allocatedLocked(), Actuated: w.actuatedLocked(), Pending: w.resize.pending, InProgress: w.mem.Resize.InProgress,
	}
	for _, c := range s.View.Containers {
		if c.State == runtime.ContainerRunning {
			f.Readiness[c.ID] = w.probes.Readiness(c.ID)
		}
	}
	return f
}

// report makes the pod's status durable if it changed. A pod whose API object is
// gone has nobody to report to.
func (w *worker) report(ctx context.Context, s plan.Situation) bool {
	if s.Ending == plan.EndGone || s.FinalReported && s.Ending == plan.EndDeleted {
		return true
	}
	if s.Ending == plan.EndDeleted && !s.View.Alive() {
		return true // the final report follows, or none
	}
	// Final: no process of the pod runs and none will.
	final := (w.finished || s.Ending == plan.EndFinished) && len(s.View.Running()) == 0
	return w.reportStatus(ctx, plan.PodStatus(w.facts(s, final)))
}

// reportStatus reports a status that differs from the last one. It is false if
// that failed, and must be tried again.
func (w *worker) reportStatus(ctx context.Context, st corev1.PodStatus) bool {
	pod, uid := w.reportsAs()
	devicehealth.AddDevices(&st, string(pod.UID), w.last, w.a.cfg.Devices)
	devicehealth.AddClaims(&st, pod, w.last, w.a.cfg.ResourceClaims)
	if w.reported && w.reportedUID == uid && w.last != nil && equality.Semantic.DeepEqual(*w.last, st) {
		return true
	}
	// A static pod whose mirror is not there yet: the status is kept for Agent.Pods and
	// reported once the mirror is.
	if uid == "" {
		w.last = &st // to be reported once the API server shows the pod
		w.keepStatus(&st)
		return true
	}
	if err := w.a.sendStatus(ctx, pod, uid, st); err != nil {
		if ctx.Err() == nil && !w.reportFailing {
			w.a.log.Warn("cannot report a pod's status; trying until it can be", "pod", podspec.Title(pod), "err", err)
			w.reportFailing = true
		}
		return false
	}
	w.reportFailing = false
	if st.Phase == corev1.PodRunning && (w.last == nil || w.last.Phase == corev1.PodPending) {
		w.a.metrics.PodRunning(time.Since(w.created))
	}
	ended := plan.IsTerminal(st.Phase) && (w.last == nil || !plan.IsTerminal(w.last.Phase))
	w.last, w.reported, w.reportedUID = &st, true, uid
	w.keepStatus(&st)
	if ended { // it holds nothing any more
		w.a.nodeCgroups.Kick()
		w.a.retryResizes(triggerTerminated)
	}
	return true
}

// sendStatus reports a status of a pod, which the API server knows by the uid.
func (a *Agent) sendStatus(ctx context.Context, pod *corev1.Pod, uid types.UID, st corev1.PodStatus) error {
	out := &corev1.Pod{TypeMeta: pod.TypeMeta, Status: st}
	out.Namespace, out.Name, out.UID = pod.Namespace, pod.Name, uid
	return a.cfg.Reports.PodStatus(ctx, out)
}

// keepStatus sets the status that Agent.Pods gives from now on.
func (w *worker) keepStatus(st *corev1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reportedStatus = st.DeepCopy()
}

// reportsAs is the pod, and the uid by which the API server knows it. A static pod
// has none before its mirror is shown there.
func (w *worker) reportsAs() (*corev1.Pod, types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if static.Is(w.pod) {
		return w.pod, w.mirrorUID
	}
	return w.pod, w.pod.UID
}

// ConditionTokenExpired is a condition of pods. It is True while a service account
// token of the pod has expired and cannot be renewed, because the cloud is out of
// reach. The pod runs on with that token. Otherwise the pod has no such condition.
const ConditionTokenExpired = plan.ConditionTokenExpired

// loadLastReport reads what an Agent before this one last reported of the pod. The
// status that came with the pod from the cloud may be older.
func (w *worker) loadLastReport(ctx context.Context) {
	defer w.restoreWaiting()
	defer w.restoreResizeConditions()
	reports, ok := w.a.cfg.Reports.(LastReports)
	w.mu.Lock()
	pod, gone := w.pod, w.deleted
	w.mu.Unlock()
	if !ok || gone || pod.Name == "" {
		return
	}
	said, err := reports.LastPodStatus(ctx, pod)
	if err != nil {
		if !notfound.Is(err) && ctx.Err() == nil {
			w.a.log.Warn("cannot recall the last report of a pod", "pod", podspec.Title(pod), "err", err)
		}
		return
	}
	if static.Is(pod) && endedByShutdown(said) {
		started := hasEverRun(said) // it need not be released again
		w.updateMemory(func(m *memory) { m.hold.released = m.hold.released || started })
		return
	}
	w.last = newerStatus(said, w.last)
	w.updateMemory(func(m *memory) { m.Expired = plan.TokenExpired(w.last) })
	if t := w.last.StartTime; t != nil {
		w.start = t.Time
	}
}

// newerStatus is the newer of what this node reported of a pod and of what the
// cloud has, which may be nil. A condition that somebody changed in the cloud
// since is left out: it is then reported anew.
func newerStatus(said, cloud *corev1.PodStatus) *corev1.PodStatus {
	if cloud == nil {
		return said
	}
	if plan.IsTerminal(cloud.Phase) && !plan.IsTerminal(said.Phase) {
		return cloud
	}
	said.Conditions = slices.DeleteFunc(said.Conditions, func(c corev1.PodCondition) bool {
		return slices.ContainsFunc(cloud.Conditions, func(o corev1.PodCondition) bool {
			return o.Type == c.Type && o.Status != c.Status && o.LastTransitionTime.After(c.LastTransitionTime.Time)
		})
	})
	return said
}

// restoreWaiting restores why containers did not start, so that a restart of the
// agent does not show them as ContainerCreating until the next try.
func (w *worker) restoreWaiting() {
	if w.last == nil {
		return
	}
	for _, list := range [][]corev1.ContainerStatus{w.last.InitContainerStatuses, w.last.ContainerStatuses, w.last.EphemeralContainerStatuses} {
		for _, c := range list {
			if why := c.State.Waiting; why != nil && !slices.Contains([]string{"", plan.ReasonContainerCreating, plan.ReasonPodInitializing, plan.ReasonCrashLoopBackOff}, why.Reason) {
				w.updateMemory(func(m *memory) { m.Waiting[c.Name] = plan.Waiting{Reason: why.Reason, Message: why.Message} })
			}
		}
	}
}
