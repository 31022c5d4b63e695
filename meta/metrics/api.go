package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/meta/apiserver"
)

// API is a prometheus.Collector for the node's own Kubernetes API. Make it with NewAPI.
type API struct {
	stats                                func() apiserver.Stats
	requests, open, refused, interrupted *prometheus.Desc
}

var _ prometheus.Collector = (*API)(nil)

// NewAPI makes a collector of what stats returns; apiserver.Server.Stats is one.
func NewAPI(stats func() apiserver.Stats) *API {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("edgekit_api_"+name, help, labels, nil)
	}
	return &API{
		stats:       stats,
		requests:    desc("requests_total", "Requests to the node's own Kubernetes API that were answered, by source (local: the node; cloud: the API server, through the link) and HTTP status.", "source", "code"),
		open:        desc("open_requests", "Requests that are open now: at the API server (cloud), and watches of the node's store (local).", "source"),
		refused:     desc("refused_total", "Requests that got 429 because of a limit of the node."),
		interrupted: desc("fell_back_total", "Reads that the node's store answered because the link was lost under way."),
	}
}

// Describe lists the metrics.
func (a *API) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{a.requests, a.open, a.refused, a.interrupted} {
		out <- d
	}
}

// Collect sends the metrics.
func (a *API) Collect(out chan<- prometheus.Metric) {
	s := a.stats()
	for _, r := range s.Requests {
		out <- prometheus.MustNewConstMetric(a.requests, prometheus.CounterValue, float64(r.Count), string(r.Source), strconv.Itoa(r.Code))
	}
	out <- prometheus.MustNewConstMetric(a.open, prometheus.GaugeValue, float64(s.Streams), string(apiserver.SourceCloud))
	out <- prometheus.MustNewConstMetric(a.open, prometheus.GaugeValue, float64(s.Watches), string(apiserver.SourceLocal))
	out <- prometheus.MustNewConstMetric(a.refused, prometheus.CounterValue, float64(s.Refused))
	out <- prometheus.MustNewConstMetric(a.interrupted, prometheus.CounterValue, float64(s.FellBack))
}
