package metrics_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/metrics"
)

func TestAPI(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewAPI(func() apiserver.Stats {
		return apiserver.Stats{Streams: 3, Watches: 4, Refused: 5, FellBack: 6, Requests: []apiserver.RequestCount{
			{Source: apiserver.SourceCloud, Code: 200, Count: 7}, {Source: apiserver.SourceLocal, Code: 503, Count: 8}}}
	}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"edgekit_api_requests_total code=200 source=cloud": 7, "edgekit_api_requests_total code=503 source=local": 8,
		"edgekit_api_open_requests source=cloud": 3, "edgekit_api_open_requests source=local": 4,
		"edgekit_api_refused_total": 5, "edgekit_api_fell_back_total": 6,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}
