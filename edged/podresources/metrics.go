package podresources

import "github.com/prometheus/client_golang/prometheus"

// metrics counts calls, under the kubelet's names.
type metrics struct {
	total    *prometheus.CounterVec
	calls    map[string]*prometheus.CounterVec // by kind of call
	notFound prometheus.Counter
}

func newMetrics() metrics {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_pod_resources_endpoint_" + name, Help: help}, []string{"server_api_version"})
	}
	m := metrics{
		total: vec("requests_total", "Cumulative number of requests to the PodResource endpoint. Broken down by server api version."),
		calls: map[string]*prometheus.CounterVec{
			"list":            vec("requests_list", "Number of requests to the PodResource List endpoint. Broken down by server api version."),
			"get":             vec("requests_get", "Number of requests to the PodResource Get endpoint. Broken down by server api version."),
			"get_allocatable": vec("requests_get_allocatable", "Number of requests to the PodResource GetAllocatableResources endpoint. Broken down by server api version."),
		},
	}
	m.calls["errors_get"] = vec("errors_get", "Number of requests to the PodResource Get endpoint which returned error. Broken down by server api version.")
	m.notFound = m.calls["errors_get"].WithLabelValues("v1")
	return m
}

// request counts a call.
func (m metrics) request(version, kind string) {
	m.total.WithLabelValues(version).Inc()
	m.calls[kind].WithLabelValues(version).Inc()
}

func (m metrics) each(fn func(prometheus.Collector)) {
	fn(m.total)
	for _, c := range m.calls {
		fn(c)
	}
}
