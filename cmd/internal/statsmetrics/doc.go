// Package statsmetrics makes Prometheus metrics of the Stats of a part of a program:
//
//	m := statsmetrics.New("edgecore_rules_", r.Stats)
//	m.Gauge("active", "Rules whose source is this node.", func(s rules.Stats) float64 { return float64(s.Rules) })
//	registry.MustRegister(m)
//
// Add all metrics before Metrics is registered; from then on it may be used by several
// goroutines.
package statsmetrics
