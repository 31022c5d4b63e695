package accessmetrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus/access"
)

type collector struct {
	access         *access.Access
	logins, topics *prometheus.Desc
}

// New returns a collector of an Access's counters. It may be collected by several goroutines
// at once.
func New(a *access.Access) (prometheus.Collector, error) {
	if a == nil {
		return nil, errors.New("accessmetrics: an Access is required")
	}
	return &collector{
		access: a,
		logins: prometheus.NewDesc("edgekit_mqtt_logins_refused_total",
			"Logins at the MQTT broker that were refused, by reason (anonymous, certificate, client id, limit, password, rule, token).", []string{"reason"}, nil),
		topics: prometheus.NewDesc("edgekit_mqtt_topics_refused_total",
			"What MQTT users were not allowed to do with a topic, by action (publish, subscribe, will).", []string{"action"}, nil),
	}, nil
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.logins
	ch <- c.topics
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.access.Stats()
	for _, reason := range access.Reasons() {
		ch <- prometheus.MustNewConstMetric(c.logins, prometheus.CounterValue, float64(s.Logins[reason]), reason)
	}
	for _, action := range access.Actions() {
		ch <- prometheus.MustNewConstMetric(c.topics, prometheus.CounterValue, float64(s.Topics[action]), action)
	}
}
