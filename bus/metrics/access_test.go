package metrics_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/metrics"
)

func TestAccess(t *testing.T) {
	a, err := access.Open(access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = a.Authenticate(t.Context(), broker.Login{})
	a.Allow(broker.User{}, "$hw/x", broker.ActionPublish)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewAccess(a.Stats), metrics.NewBroker(func() broker.Stats { return broker.Stats{} }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				got[f.GetName()+" "+label.GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if len(got) != 10 || got["edgekit_mqtt_refused_logins_by_reason_total anonymous"] != 1 || got["edgekit_mqtt_refused_topics_total publish"] != 1 {
		t.Errorf("%v", got)
	}
}
