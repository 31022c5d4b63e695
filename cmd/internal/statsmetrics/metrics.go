package statsmetrics

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the metrics of a part that counts in a Stats of its own: a
// prometheus.Collector. Make one with New.
type Metrics[S any] struct {
	prefix string // of their names
	stats  func() S
	all    []metric[S]
}

type metric[S any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(S) float64
}

// New makes Metrics whose names begin with prefix. stats is called once for each Collect.
func New[S any](prefix string, stats func() S) *Metrics[S] {
	return &Metrics[S]{prefix: prefix, stats: stats}
}

// Counter adds a counter.
func (m *Metrics[S]) Counter(name, help string, of func(S) float64) {
	m.add(prometheus.CounterValue, name, help, of)
}

// Gauge adds a gauge.
func (m *Metrics[S]) Gauge(name, help string, of func(S) float64) {
	m.add(prometheus.GaugeValue, name, help, of)
}

func (m *Metrics[S]) add(kind prometheus.ValueType, name, help string, of func(S) float64) {
	m.all = append(m.all, metric[S]{prometheus.NewDesc(m.prefix+name, help, nil, nil), kind, of})
}

// Describe implements prometheus.Collector.
func (m *Metrics[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, one := range m.all {
		ch <- one.desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics[S]) Collect(ch chan<- prometheus.Metric) {
	s := m.stats()
	for _, one := range m.all {
		ch <- prometheus.MustNewConstMetric(one.desc, one.kind, one.of(s))
	}
}
