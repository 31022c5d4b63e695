package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requests counts the requests of a Server, under the kubelet's names. Its labels have few values: a
// path that the Server does not know is "other".
type requests struct {
	total    *prometheus.CounterVec
	inflight *prometheus.GaugeVec
	took     *prometheus.HistogramVec
}

func newRequests() *requests {
	labels := []string{"method", "path", "server_type", "long_running"}
	return &requests{
		total:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_http_requests_total", Help: "Number of requests to the kubelet's API."}, labels),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubelet_http_inflight_requests", Help: "Number of requests to the kubelet's API that are being answered."}, labels),
		took:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_http_requests_duration_seconds", Help: "Duration in seconds of requests to the kubelet's API.", Buckets: prometheus.DefBuckets}, labels),
	}
}

func (q *requests) all() []prometheus.Collector {
	return []prometheus.Collector{q.total, q.inflight, q.took}
}

// count counts one request until what it returns is called.
func (q *requests) count(r *http.Request) (done func()) {
	method := r.Method
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete:
	default:
		method = "other"
	}
	path := pathLabel(r.URL.Path)
	long := path == "exec" || path == "attach" || path == "portForward"
	labels := []string{method, path, "readwrite", strconv.FormatBool(long)}
	began := time.Now()
	q.total.WithLabelValues(labels...).Inc()
	q.inflight.WithLabelValues(labels...).Inc()
	return func() {
		q.inflight.WithLabelValues(labels...).Dec()
		q.took.WithLabelValues(labels...).Observe(time.Since(began).Seconds())
	}
}

// pathLabel is the kubelet's word for a path: its first part, or two of them below /metrics.
func pathLabel(path string) string {
	path = strings.Trim(path, "/")
	first, _, _ := strings.Cut(path, "/")
	switch first {
	case "containerLogs", "exec", "attach", "portForward", "pods", "runningpods", "healthz", "readyz", "configz", "stats":
		return first
	}
	switch path {
	case "metrics", "metrics/resource", "metrics/cadvisor", "metrics/probes", "metrics/slis":
		return path
	}
	return "other"
}
