package edged

import "github.com/prometheus/client_golang/prometheus"

// Describe describes the metrics of an Agent, a prometheus.Collector.
func (a *Agent) Describe(ch chan<- *prometheus.Desc) {
	a.evictor.Describe(ch)
	a.resizeMetrics.Describe(ch)
	if a.disk.images != nil {
		a.disk.images.Describe(ch)
	}
}

// Collect sends what the Agent counts besides the results of probes, under the
// kubelet's names: pods that were evicted or resized and images that were removed.
func (a *Agent) Collect(ch chan<- prometheus.Metric) {
	a.evictor.Collect(ch)
	a.resizeMetrics.Collect(ch, a.resizeStates())
	if a.disk.images != nil {
		a.disk.images.Collect(ch)
	}
}
