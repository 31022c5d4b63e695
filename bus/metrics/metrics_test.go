package metrics_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/metrics"
)

func Example() {
	registry := prometheus.NewRegistry()
	fmt.Println(registry.Register(metrics.NewBroker(func() broker.Stats { return broker.Stats{} })))
	// Output: <nil>
}

func TestBroker(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewBroker(func() broker.Stats {
		return broker.Stats{Clients: 3, Dropped: 5, Bounds: map[string]int64{"queue": 2, "write buffer": 3}}
	}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if len(got) != 19 || got["edgekit_mqtt_clients"] != 3 || got["edgekit_mqtt_dropped_messages_total"] != 5 || got["edgekit_mqtt_limit_reached_total"] != 5 {
		t.Errorf("%v", got)
	}
}
