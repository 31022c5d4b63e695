package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus/access"
)

// Access is a prometheus.Collector for one access.Access: what it refuses. Make it with
// NewAccess. Several goroutines may use it at once.
//
// A rate of edgekit_mqtt_refused_logins_by_reason_total with the reason password or limit
// means that somebody guesses passwords.
type Access struct {
	stats          func() access.Stats
	logins, topics *prometheus.Desc
}

var _ prometheus.Collector = (*Access)(nil)

// NewAccess makes a collector of the Stats that the function returns, usually the Stats
// method of an access.Access.
func NewAccess(stats func() access.Stats) *Access {
	return &Access{
		stats: stats,
		logins: prometheus.NewDesc("edgekit_mqtt_refused_logins_by_reason_total",
			"Logins refused, by reason: anonymous, certificate, client id, limit, password, rule, token.", []string{"reason"}, nil),
		topics: prometheus.NewDesc("edgekit_mqtt_refused_topics_total",
			"What users were not allowed to do with a topic, by action: publish, subscribe, will.", []string{"action"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (a *Access) Describe(out chan<- *prometheus.Desc) {
	out <- a.logins
	out <- a.topics
}

// Collect implements prometheus.Collector.
func (a *Access) Collect(out chan<- prometheus.Metric) {
	stats := a.stats()
	for _, reason := range access.Reasons() {
		out <- prometheus.MustNewConstMetric(a.logins, prometheus.CounterValue, float64(stats.Logins[reason]), reason)
	}
	for _, action := range access.Actions() {
		out <- prometheus.MustNewConstMetric(a.topics, prometheus.CounterValue, float64(stats.Topics[action]), action)
	}
}
