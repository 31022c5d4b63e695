package main

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

func TestNotReadyAfter(t *testing.T) {
	for d, ok := range map[time.Duration]bool{0: true, 10 * time.Second: true, time.Hour: true, time.Second: false, -time.Minute: false, 9000 * time.Hour: false} {
		err := checkNotReadyAfter(d)
		usage, is := errors.AsType[*program.UsageError](err)
		if (err == nil) != ok || !ok && (!is || usage.Setting != "disconnected-pods-not-ready-after") {
			t.Errorf("%s: %v", d, err)
		}
	}
	if orNever(0) >= 0 || orNever(time.Minute) != time.Minute {
		t.Errorf("0 is %s, 1m is %s", orNever(0), orNever(time.Minute))
	}
	if got := reconnectGrace(15 * time.Second); got != time.Minute {
		t.Errorf("with the default keepalive nodes have %s", got)
	}
}

func TestLifecycleMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newLifecycleMetrics(func() nodelifecycle.Stats { return nodelifecycle.Stats{Nodes: 2, Pods: 30, Failed: 1} }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	want := map[string]float64{"cloudcore_disconnected_nodes_not_ready": 2, "cloudcore_disconnected_pods_marked_total": 30, "cloudcore_disconnected_pods_failures_total": 1}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
