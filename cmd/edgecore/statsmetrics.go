package main

import "github.com/prometheus/client_golang/prometheus"

// statsMetrics are the metrics of a part that counts in a Stats of its own.
type statsMetrics[S any] struct {
	prefix string // of their names
	stats  func() S
	all    []statsMetric[S]
}

type statsMetric[S any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(S) float64
}

func (m *statsMetrics[S]) counter(name, help string, of func(S) float64) {
	m.add(prometheus.CounterValue, name, help, of)
}

func (m *statsMetrics[S]) gauge(name, help string, of func(S) float64) {
	m.add(prometheus.GaugeValue, name, help, of)
}

func (m *statsMetrics[S]) add(kind prometheus.ValueType, name, help string, of func(S) float64) {
	m.all = append(m.all, statsMetric[S]{prometheus.NewDesc(m.prefix+name, help, nil, nil), kind, of})
}

// Describe implements prometheus.Collector.
func (m *statsMetrics[S]) Describe(out chan<- *prometheus.Desc) {
	for _, one := range m.all {
		out <- one.desc
	}
}

// Collect implements prometheus.Collector.
func (m *statsMetrics[S]) Collect(out chan<- prometheus.Metric) {
	s := m.stats()
	for _, one := range m.all {
		out <- prometheus.MustNewConstMetric(one.desc, one.kind, one.of(s))
	}
}
