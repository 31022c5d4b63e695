package topology

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what containers have of their own, under the kubelet's names. The zero
// value is ready. It may be used by several goroutines.
type Metrics struct {
	Admissions, Refusals atomic.Int64 // of pods whose resources are to be aligned
	shared, own          atomic.Int64 // CPUs
}

// Set takes what is given.
func (m *Metrics) Set(s State) {
	own := 0
	for _, containers := range s.CPUs {
		for _, set := range containers {
			own += set.Size()
		}
	}
	m.shared.Store(int64(s.Shared.Size()))
	m.own.Store(int64(own))
}

// All lists the metrics with their values.
func (m *Metrics) All() map[*prometheus.Desc]prometheus.Metric {
	out := make(map[*prometheus.Desc]prometheus.Metric)
	add := func(name, help string, kind prometheus.ValueType, value int64) {
		desc := prometheus.NewDesc("kubelet_"+name, help, nil, nil)
		out[desc] = prometheus.MustNewConstMetric(desc, kind, float64(value))
	}
	add("topology_manager_admission_requests_total", "The number of admission requests where resources have to be aligned.", prometheus.CounterValue, m.Admissions.Load())
	add("topology_manager_admission_errors_total", "The number of admission request failures where resources could not be aligned.", prometheus.CounterValue, m.Refusals.Load())
	add("cpu_manager_shared_pool_size_millicores", "The size of the shared CPU pool for non-guaranteed QoS pods, in millicores.", prometheus.GaugeValue, m.shared.Load()*1000)
	add("cpu_manager_exclusive_cpu_allocation_count", "The total number of CPUs exclusively allocated to containers running on this node", prometheus.GaugeValue, m.own.Load())
	return out
}
