package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// checkNotReadyAfter checks --disconnected-pods-not-ready-after. Less than ten seconds would mark
// the pods of nodes that only change networks.
func checkNotReadyAfter(d time.Duration) error {
	if d != 0 && (d < 10*time.Second || d > 365*24*time.Hour) {
		return &program.UsageError{Setting: "disconnected-pods-not-ready-after", Reason: "must be 10s to 8760h, or 0 for never"}
	}
	return nil
}

// orNever converts a flag, whose 0 means never, to a setting, whose 0 means its default.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// reconnectGrace is how long nodes need to connect to a cloudcore that has just started: two
// keepalives, until they notice that the link to another one is dead, and the longest pause
// between two tries (hub.Backoff).
func reconnectGrace(keepalive time.Duration) time.Duration { return 30*time.Second + 2*keepalive }

// lifecycleMetrics are the metrics of nodes without a link.
type lifecycleMetrics struct {
	stats               func() nodelifecycle.Stats
	nodes, pods, failed *prometheus.Desc
}

func newLifecycleMetrics(stats func() nodelifecycle.Stats) *lifecycleMetrics {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc("cloudcore_"+name, help, nil, nil) }
	return &lifecycleMetrics{
		stats:  stats,
		nodes:  desc("disconnected_nodes_not_ready", "Nodes without a link for so long that their pods are set to not ready, of those that this cloudcore looks after."),
		pods:   desc("disconnected_pods_marked_total", "Pods that were set to not ready since their node is without a link."),
		failed: desc("disconnected_pods_failures_total", "Times that the pods of a node could not all be set to not ready, and were tried again."),
	}
}

func (m *lifecycleMetrics) Describe(out chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(m, out)
}

func (m *lifecycleMetrics) Collect(out chan<- prometheus.Metric) {
	s := m.stats()
	out <- prometheus.MustNewConstMetric(m.nodes, prometheus.GaugeValue, float64(s.Nodes))
	out <- prometheus.MustNewConstMetric(m.pods, prometheus.CounterValue, float64(s.Pods))
	out <- prometheus.MustNewConstMetric(m.failed, prometheus.CounterValue, float64(s.Failed))
}
