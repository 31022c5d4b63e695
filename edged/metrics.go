package edged

import (
	"context"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/agentmetrics"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/static"
	"github.com/edgekit/edgekit/edged/volume"
)

// Describe describes the metrics of an Agent, a prometheus.Collector.
func (a *Agent) Describe(ch chan<- *prometheus.Desc) {
	a.metrics.Describe(ch)
	a.counts.Describe(ch)
	a.evictor.Describe(ch)
	if a.shutdown != nil {
		a.shutdown.Describe(ch)
	}
	a.resizeMetrics.Describe(ch)
	if a.cfg.Topology.on() {
		for desc := range a.placed.All() {
			ch <- desc
		}
	}
	if a.cfg.Devices != nil {
		a.cfg.Devices.Describe(ch)
	}
	a.volumes.Describe(ch)
	if a.disk.images != nil {
		a.disk.images.Describe(ch)
	}
}

// Collect sends what the Agent counts besides the results of probes, under the
// kubelet's names: pods, containers and volumes, how long work on them takes, pods that
// were evicted or resized, images that were removed, and how full the claims' volumes are.
func (a *Agent) Collect(ch chan<- prometheus.Metric) {
	a.metrics.Collect(ch)
	cgroups := 0
	if groups := a.groups.Load(); groups != nil {
		cgroups = 1
		if groups.V2() {
			cgroups = 2
		}
	}
	a.counts.Collect(ch, a.countedPods(), cgroups)
	a.evictor.Collect(ch)
	if a.shutdown != nil {
		a.shutdown.Collect(ch)
	}
	a.resizeMetrics.Collect(ch, a.resizeStates())
	if a.cfg.Topology.on() {
		for _, metric := range a.placed.All() {
			ch <- metric
		}
	}
	if a.cfg.Devices != nil {
		a.cfg.Devices.Collect(ch)
	}
	var pods []*corev1.Pod
	a.eachWorker(func(w *worker) { pods = append(pods, w.spec()) })
	a.volumes.Collect(ch, pods)
	if a.disk.images != nil {
		a.disk.images.Collect(ch)
	}
}

// countedPods are the pods of the node as they are counted.
func (a *Agent) countedPods() []agentmetrics.Pod {
	var out []agentmetrics.Pod
	a.eachWorker(func(w *worker) {
		w.mu.Lock()
		pod, st := w.pod, w.reportedStatus
		p := agentmetrics.Pod{
			Status: st, Containers: len(pod.Spec.Containers), Static: static.Is(pod), Mirrored: w.mirrorUID != "", Prepared: w.mem.SetUp || w.alive,
			Over: plan.IsTerminal(pod.Status.Phase) || w.rejected != nil || st != nil && plan.IsTerminal(st.Phase),
		}
		w.mu.Unlock()
		for i := range pod.Spec.Volumes {
			if v := &pod.Spec.Volumes[i]; !p.Over && volume.Used(pod, v) {
				p.Volumes = append(p.Volumes, a.volumes.Plugin(pod, v))
			}
		}
		out = append(out, p)
	})
	return out
}

// passKind is what the next look at the pod is for, in the words of the metric.
func (w *worker) passKind() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.deleted, w.pod.DeletionTimestamp != nil, w.rejected != nil:
		return agentmetrics.Terminate
	case !w.reported:
		return agentmetrics.Create
	}
	return agentmetrics.Sync
}

// WriteProbeMetrics writes how often the probes of running containers succeeded,
// failed and could not be made, in Prometheus' text format and under the
// kubelet's name.
func (a *Agent) WriteProbeMetrics(_ context.Context, w io.Writer) error {
	return a.prober.Counter.Write(w)
}
