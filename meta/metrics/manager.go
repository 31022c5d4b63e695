package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/manager"
)

// Manager is a prometheus.Collector for MetaManager: its outbox, its queries and
// the state of the link. Make it with NewManager.
type Manager struct {
	of  ManagerStats
	all []managerMetric
}

// ManagerStats are the methods of *manager.Manager that a Manager reads.
type ManagerStats interface {
	Stats() manager.Stats
	Connection() hub.Info
}

// managerMetric is one metric and where its value comes from.
type managerMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(manager.Stats, hub.Info) float64
}

var _ prometheus.Collector = (*Manager)(nil)

// NewManager makes a collector of what m counts.
func NewManager(m ManagerStats) *Manager {
	c := &Manager{of: m}
	add := func(kind prometheus.ValueType, name, help string, of func(manager.Stats, hub.Info) float64) {
		c.all = append(c.all, managerMetric{prometheus.NewDesc("edgekit_meta_"+name, help, nil, nil), kind, of})
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	add(gauge, "connected", "Whether the link to the cloud is connected.", func(_ manager.Stats, info hub.Info) float64 {
		if info.Connected {
			return 1
		}
		return 0
	})
	add(gauge, "connected_since_seconds", "When the link was connected or lost last, in seconds since 1970; 0 if unknown.", func(_ manager.Stats, info hub.Info) float64 {
		if info.Since.IsZero() {
			return 0
		}
		return float64(info.Since.Unix())
	})
	add(gauge, "events_waiting", "Events in the outbox that the cloud has not acknowledged.", func(s manager.Stats, _ hub.Info) float64 { return float64(s.EventsWaiting) })
	add(counter, "events_dropped_total", "Events dropped because the outbox was full.", func(s manager.Stats, _ hub.Info) float64 { return float64(s.EventsDropped) })
	add(counter, "state_refused_total", "Reports of state refused because the outbox was full.", func(s manager.Stats, _ hub.Info) float64 { return float64(s.StateRefused) })
	add(counter, "queries_local_total", "Queries answered by the store.", func(s manager.Stats, _ hub.Info) float64 { return float64(s.QueriesLocal) })
	add(counter, "queries_stale_total", "Queries answered with an old object because the cloud did not answer.", func(s manager.Stats, _ hub.Info) float64 { return float64(s.QueriesStale) })
	add(counter, "queries_cloud_total", "Queries answered by the cloud.", func(s manager.Stats, _ hub.Info) float64 { return float64(s.QueriesCloud) })
	return c
}

// Describe lists the metrics.
func (c *Manager) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c.all {
		out <- m.desc
	}
}

// Collect sends the metrics. It asks for the counts once.
func (c *Manager) Collect(out chan<- prometheus.Metric) {
	stats, info := c.of.Stats(), c.of.Connection()
	for _, m := range c.all {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(stats, info))
	}
}
