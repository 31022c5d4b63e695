package edged

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// Describe describes the metrics of an Agent, a prometheus.Collector.
func (a *Agent) Describe(ch chan<- *prometheus.Desc) {
	a.metrics.Describe(ch)
	a.counts.describe(ch)
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
	a.collectCounts(ch)
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
