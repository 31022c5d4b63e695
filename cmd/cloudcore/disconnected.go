package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
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

// newLifecycleMetrics makes the metrics of nodes without a link.
func newLifecycleMetrics(stats func() nodelifecycle.Stats) prometheus.Collector {
	m := statsmetrics.New("cloudcore_", stats)
	m.Gauge("disconnected_nodes_not_ready", "Nodes without a link for so long that their pods are set to not ready, of those that this cloudcore looks after.", func(s nodelifecycle.Stats) float64 { return float64(s.Nodes) })
	m.Counter("disconnected_pods_marked_total", "Pods that were set to not ready since their node is without a link.", func(s nodelifecycle.Stats) float64 { return float64(s.Pods) })
	m.Counter("disconnected_pods_failures_total", "Times that the pods of a node could not all be set to not ready, and were tried again.", func(s nodelifecycle.Stats) float64 { return float64(s.Failed) })
	return m
}
