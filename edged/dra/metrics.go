package dra

import "github.com/prometheus/client_golang/prometheus"

// metrics are the kubelet's of these names (pkg/kubelet/metrics of Kubernetes).
type metrics struct {
	operations, calls            *prometheus.HistogramVec
	prepareSkips, unprepareSkips *prometheus.CounterVec
	inUse                        *prometheus.Desc
}

// anyDriver is the driver_name of all claims.
const anyDriver = "<any>"

func newMetrics() metrics {
	buckets := prometheus.ExponentialBucketsRange(.1, 40, 15)
	return metrics{
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dra_operations_duration_seconds", Help: "How long it took to prepare or unprepare all resource claims of a pod.", Buckets: buckets,
		}, []string{"operation_name", "is_error"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dra_grpc_operations_duration_seconds", Help: "Duration of gRPC calls of DRA drivers.", Buckets: buckets,
		}, []string{"driver_name", "method_name", "grpc_status_code"}),
		prepareSkips: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dra_node_prepare_skips_total", Help: "How often NodePrepareResources was left out because of skipNodeOperations.",
		}, []string{"driver_name"}),
		unprepareSkips: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dra_node_unprepare_skips_total", Help: "How often NodeUnprepareResources was left out because of skipNodeOperations.",
		}, []string{"driver_name"}),
		inUse: prometheus.NewDesc("dra_resource_claims_in_use", "The number of ResourceClaims that are prepared, by driver; all of them under "+anyDriver+".", []string{"driver_name"}, nil),
	}
}

// Describe describes the metrics of a Manager, a prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	m.metrics.operations.Describe(ch)
	m.metrics.calls.Describe(ch)
	m.metrics.prepareSkips.Describe(ch)
	m.metrics.unprepareSkips.Describe(ch)
	ch <- m.metrics.inUse
}

// Collect sends the metrics of a Manager, under the kubelet's names.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	m.metrics.operations.Collect(ch)
	m.metrics.calls.Collect(ch)
	m.metrics.prepareSkips.Collect(ch)
	m.metrics.unprepareSkips.Collect(ch)
	inUse := map[string]int{anyDriver: 0}
	m.mu.Lock()
	for _, c := range m.claims {
		if !c.record.Prepared {
			continue
		}
		inUse[anyDriver]++
		for _, d := range c.record.Drivers {
			inUse[d.Name]++
		}
	}
	m.mu.Unlock()
	for name, n := range inUse {
		ch <- prometheus.MustNewConstMetric(m.metrics.inUse, prometheus.GaugeValue, float64(n), name)
	}
}
