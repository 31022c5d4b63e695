package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/meta/manager"
)

// Manager is a prometheus.Collector for MetaManager: its outbox, its queries and
// the state of the link. Make it with NewManager.
type Manager struct {
	of  *manager.Manager
	all []managerMetric
}

// managerCounts is what one scrape reads of a Manager.
type managerCounts struct {
	manager.Stats
	connected bool
	since     time.Time
}

// managerMetric is one metric and where its value comes from.
type managerMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(managerCounts) float64
}

var _ prometheus.Collector = (*Manager)(nil)

// NewManager makes a collector of what m counts.
func NewManager(m *manager.Manager) *Manager {
	c := &Manager{of: m}
	add := func(kind prometheus.ValueType, name, help string, of func(managerCounts) float64) {
		c.all = append(c.all, managerMetric{prometheus.NewDesc("edgekit_meta_"+name, help, nil, nil), kind, of})
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	add(gauge, "connected", "Whether the link to the cloud is connected.", func(c managerCounts) float64 {
		if c.connected {
			return 1
		}
		return 0
	})
	add(gauge, "connected_since_seconds", "When the link was connected or lost last, in seconds since 1970; 0 if unknown.", func(c managerCounts) float64 {
		if c.since.IsZero() {
			return 0
		}
		return float64(c.since.Unix())
	})
	add(gauge, "events_waiting", "Events in the outbox that the cloud has not acknowledged.", func(s managerCounts) float64 { return float64(s.EventsWaiting) })
	add(counter, "events_dropped_total", "Events dropped because the outbox was full.", func(s managerCounts) float64 { return float64(s.EventsDropped) })
	add(counter, "state_refused_total", "Reports of state refused because the outbox was full.", func(s managerCounts) float64 { return float64(s.StateRefused) })
	add(counter, "queries_local_total", "Queries answered by the store.", func(s managerCounts) float64 { return float64(s.QueriesLocal) })
	add(counter, "queries_stale_total", "Queries answered with an old object because the cloud did not answer.", func(s managerCounts) float64 { return float64(s.QueriesStale) })
	add(counter, "queries_cloud_total", "Queries answered by the cloud.", func(s managerCounts) float64 { return float64(s.QueriesCloud) })
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
	info := c.of.Connection()
	counts := managerCounts{c.of.Stats(), info.Connected, info.Since}
	for _, m := range c.all {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(counts))
	}
}
