package edged

import (
	"context"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podlogs"
)

// Pods lists the pods that the node has now, each with the status that was
// reported last. They belong to the caller. Pods that are only being cleaned
// up, since their API object is gone, are not among them.
func (a *Agent) Pods() []*corev1.Pod {
	var out []*corev1.Pod
	a.eachWorker(func(w *worker) {
		if pod := w.snapshot(); pod != nil {
			out = append(out, pod)
		}
	})
	return out
}

// Pod is the pod of that name as Pods has it, nil if there is none. Of two
// with one name, which happens while one is being replaced, it is the one that
// stays.
func (a *Agent) Pod(namespace, name string) *corev1.Pod {
	var found *worker
	a.eachWorker(func(w *worker) {
		pod := w.spec()
		if pod.Namespace == namespace && pod.Name == name && (found == nil || found.spec().DeletionTimestamp != nil) {
			found = w
		}
	})
	if found == nil {
		return nil
	}
	return found.snapshot()
}

// LogFile is where the runtime writes what a container says, attempt being the
// container's restart count. The file need not exist.
func (a *Agent) LogFile(pod *corev1.Pod, container string, attempt uint32) string {
	return podlogs.File(a.cfg.LogRoot, pod, container, attempt)
}

// snapshot is a copy of the worker's pod with its newest status, nil if the API
// object is gone.
func (w *worker) snapshot() *corev1.Pod {
	w.mu.Lock()
	pod, reported, gone := w.pod, w.reportedStatus, w.deleted
	w.mu.Unlock()
	if gone || pod.Name == "" {
		return nil
	}
	pod = pod.DeepCopy()
	if reported != nil {
		others := pod.Status.Conditions
		reported.DeepCopyInto(&pod.Status)
		for _, c := range others { // which the node does not report
			if !slices.ContainsFunc(reported.Conditions, func(o corev1.PodCondition) bool { return o.Type == c.Type }) {
				pod.Status.Conditions = append(pod.Status.Conditions, c)
			}
		}
	}
	return pod
}

// WriteProbeMetrics writes how often the probes of running containers succeeded,
// failed and could not be made, in Prometheus' text format and under the
// kubelet's name.
func (a *Agent) WriteProbeMetrics(_ context.Context, w io.Writer) error {
	return a.prober.Counter.Write(w)
}
