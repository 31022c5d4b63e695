package tracing

import "github.com/prometheus/client_golang/prometheus"

// metrics shows Stats to Prometheus.
type metrics struct{ t *Tracer }

var (
	spansDesc = prometheus.NewDesc("edgekit_tracing_spans_total",
		"Ended spans of sampled traces: exported ones, those dropped because the queue was full, and failed ones, which the receiver did not take.", []string{"result"}, nil)
	waitingDesc = prometheus.NewDesc("edgekit_tracing_queue_length", "Spans that wait for the receiver of traces.", nil, nil)
	ignoredDesc = prometheus.NewDesc("edgekit_tracing_reports_ignored_total", "Reports of nodes whose trace was not continued, because their node had sent too many.", nil, nil)
)

// Metrics is the collector of the counts of t, which may be nil: all are 0 then.
func Metrics(t *Tracer) prometheus.Collector { return metrics{t} }

// Describe lists the metrics.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- spansDesc
	ch <- waitingDesc
	ch <- ignoredDesc
}

// Collect reads the counts.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	var s Stats
	if m.t != nil {
		s = m.t.Stats()
	}
	for result, n := range map[string]uint64{"exported": s.Exported, "dropped": s.Dropped, "failed": s.Failed} {
		ch <- prometheus.MustNewConstMetric(spansDesc, prometheus.CounterValue, float64(n), result)
	}
	ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(s.Waiting))
	ch <- prometheus.MustNewConstMetric(ignoredDesc, prometheus.CounterValue, float64(s.Ignored))
}
