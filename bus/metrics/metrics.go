// Package metrics has the figures of the embedded MQTT broker for Prometheus.
//
//	registry.MustRegister(metrics.NewBroker(b.Stats))
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus/broker"
)

// Broker is a prometheus.Collector for one broker. Make it with NewBroker. Several
// goroutines may use it at once.
type Broker struct {
	stats  func() broker.Stats
	all    []figure
	bounds *prometheus.Desc
}

// figure is one metric of broker.Stats.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(broker.Stats) int64
}

var _ prometheus.Collector = (*Broker)(nil)

// NewBroker makes a collector of the Stats that the function returns, usually the Stats
// method of a broker.
func NewBroker(stats func() broker.Stats) *Broker {
	b := &Broker{stats: stats}
	add := func(kind prometheus.ValueType, name, help string, of func(broker.Stats) int64) {
		b.all = append(b.all, figure{prometheus.NewDesc("edgekit_mqtt_"+name, help, nil, nil), kind, of})
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	add(gauge, "clients", "Clients connected.", func(s broker.Stats) int64 { return s.Clients })
	add(gauge, "pending_connections", "Connections that have not logged in.", func(s broker.Stats) int64 { return s.Pending })
	add(gauge, "sessions", "Sessions of clients that are connected or away.", func(s broker.Stats) int64 { return s.Sessions })
	add(gauge, "subscriptions", "Subscriptions.", func(s broker.Stats) int64 { return s.Subscriptions })
	add(gauge, "retained_messages", "Retained messages.", func(s broker.Stats) int64 { return s.Retained })
	add(gauge, "retained_bytes", "Memory of retained messages.", func(s broker.Stats) int64 { return s.RetainedBytes })
	add(gauge, "outside_messages", "Messages that wait for the outside broker.", func(s broker.Stats) int64 { return s.Outside })
	add(gauge, "queued_bytes", "Memory of messages that subscribers have not acknowledged.", func(s broker.Stats) int64 { return s.QueuedBytes })
	add(counter, "received_messages_total", "Messages from clients.", func(s broker.Stats) int64 { return s.Received })
	add(counter, "sent_messages_total", "Messages to clients.", func(s broker.Stats) int64 { return s.Sent })
	add(counter, "dropped_messages_total", "Messages not sent to a client at one of its limits.", func(s broker.Stats) int64 { return s.Dropped })
	add(counter, "refused_logins_total", "Logins refused.", func(s broker.Stats) int64 { return s.Refused })
	add(counter, "denied_total", "Publishes and subscriptions that the rules did not allow.", func(s broker.Stats) int64 { return s.Denied })
	add(counter, "takeovers_total", "Sessions that a new connection took from an old one.", func(s broker.Stats) int64 { return s.TakeOvers })
	add(counter, "revoked_connections_total", "Connections ended since their user, password or rule was changed.", func(s broker.Stats) int64 { return s.Revoked })
	add(counter, "rejected_records_total", "Records that the store refuses although it takes others.", func(s broker.Stats) int64 { return s.Rejected })
	add(counter, "commits_total", "Batches written to the store.", func(s broker.Stats) int64 { return s.Commits })
	add(counter, "failed_commits_total", "Writes to the store that failed.", func(s broker.Stats) int64 { return s.Failures })
	b.bounds = prometheus.NewDesc("edgekit_mqtt_limit_reached_total", "How often each limit was reached.", []string{"limit"}, nil)
	return b
}

// Describe implements prometheus.Collector.
func (b *Broker) Describe(out chan<- *prometheus.Desc) {
	for _, f := range b.all {
		out <- f.desc
	}
	out <- b.bounds
}

// Collect implements prometheus.Collector.
func (b *Broker) Collect(out chan<- prometheus.Metric) {
	stats := b.stats()
	for _, f := range b.all {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(f.of(stats)))
	}
	for limit, n := range stats.Bounds {
		out <- prometheus.MustNewConstMetric(b.bounds, prometheus.CounterValue, float64(n), limit)
	}
}
