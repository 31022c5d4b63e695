package nodeapi

import (
	"bufio"
	"net"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of the requests of pods that are passed on to the API server.
type metrics struct {
	requests *prometheus.CounterVec
	open     prometheus.Gauge
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudcore_nodeapi_requests_total", Help: "Requests of pods on nodes for the API server, by HTTP status; 429 are those over a limit here or there.",
		}, []string{"code"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cloudcore_nodeapi_requests", Help: "Requests of pods on nodes that are open at the API server, watches among them.",
		}),
	}
}

// Describe lists the metrics.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	m.requests.Describe(out)
	m.open.Describe(out)
}

// Collect sends the metrics.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.requests.Collect(out)
	m.open.Collect(out)
}

// counted counts the status of an answer.
type counted struct {
	http.ResponseWriter
	requests *prometheus.CounterVec
	sent     bool
}

// WriteHeader sends the status.
func (w *counted) WriteHeader(code int) {
	if !w.sent && (code >= 200 || code == http.StatusSwitchingProtocols) {
		w.answered(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

// answered counts the answer. A status that HTTP does not define, which a service behind the API
// server may send, has the label "other": there would be hundreds.
func (w *counted) answered(code int) {
	w.sent = true
	label := "other"
	if code <= 599 {
		label = strconv.Itoa(code)
	}
	w.requests.WithLabelValues(label).Inc()
}

// Hijack gives the connection to an upgraded request, whose status is then not sent by WriteHeader.
func (w *counted) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !w.sent {
		w.answered(http.StatusSwitchingProtocols)
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController through.
func (w *counted) Unwrap() http.ResponseWriter { return w.ResponseWriter }
