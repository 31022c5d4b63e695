package main

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// newMetrics serves /metrics: the counts of each source, step and sink. edgecore's /metrics has them
// too.
func newMetrics(runner *pipeline.Runner) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&pipelineMetrics{runner: runner, all: pipelineCounts()}, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{Namespace: "edgepipe"}))
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "edgepipe_build_info", Help: "The version of edgepipe; the value is always 1.", ConstLabels: prometheus.Labels{"version": program.Version()}})
	info.Set(1)
	registry.MustRegister(info)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET "+wire.PathMetrics, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(gather(registry)) // edgecore that is gone needs none
	})
	return mux
}

// gather is what edgecore gets of the counters and gauges.
func gather(registry prometheus.Gatherer) []wire.Metric {
	families, err := registry.Gather()
	if err != nil {
		families = nil // of a collector of this program: its own fault, which a test sees
	}
	all := []wire.Metric{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			one := wire.Metric{Name: f.GetName(), Help: f.GetHelp(), Labels: make(map[string]string), Value: m.GetGauge().GetValue()}
			if f.GetType() == dto.MetricType_COUNTER {
				one.Counter, one.Value = true, m.GetCounter().GetValue()
			}
			for _, l := range m.GetLabel() {
				one.Labels[l.GetName()] = l.GetValue()
			}
			all = append(all, one)
		}
	}
	return all
}

// count is one metric of steps.
type count struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(pipeline.StepStats) float64
	sink bool // of sinks alone
}

func pipelineCounts() []count {
	made := func(kind prometheus.ValueType, sink bool, name, help string, of func(pipeline.StepStats) float64) count {
		return count{prometheus.NewDesc("edgepipe_"+name, help, []string{"namespace", "pipeline", "step", "kind"}, nil), kind, of, sink}
	}
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	return []count{
		made(counter, false, "events_in_total", "Events that came into a source, step or sink.", func(s pipeline.StepStats) float64 { return float64(s.In) }),
		made(counter, false, "events_out_total", "Events that went out of it; of a sink, that it has sent.", func(s pipeline.StepStats) float64 { return float64(s.Out) }),
		made(counter, false, "events_dropped_total", "Events that it dropped as it shall: filtered, known, over the rate.", func(s pipeline.StepStats) float64 { return float64(s.Drop) }),
		made(counter, false, "events_late_total", "Events that came after their window was closed.", func(s pipeline.StepStats) float64 { return float64(s.Late) }),
		made(counter, false, "dead_letters_total", "Events that became dead letters.", func(s pipeline.StepStats) float64 { return float64(s.Dead) }),
		made(counter, false, "retries_total", "Failed tries of a sink, and restarts of a source.", func(s pipeline.StepStats) float64 { return float64(s.Retry) }),
		made(counter, false, "busy_seconds_total", "Time spent in it, sampled.", func(s pipeline.StepStats) float64 { return s.Busy.Seconds() }),
		made(gauge, false, "keys", "Keys that the state of a step holds.", func(s pipeline.StepStats) float64 { return float64(s.Keys) }),
		made(gauge, true, "queue_events", "Events that wait for a sink.", func(s pipeline.StepStats) float64 { return float64(s.Queue.Events) }),
		made(gauge, true, "queue_bytes", "Bytes of them.", func(s pipeline.StepStats) float64 { return float64(s.Queue.Bytes) }),
		made(counter, true, "queue_dropped_total", "Events that were dropped because the queue was full or they were too old.", func(s pipeline.StepStats) float64 { return float64(s.Queue.Dropped) }),
	}
}

// pipelineMetrics are the counts of all pipelines.
type pipelineMetrics struct {
	runner *pipeline.Runner
	all    []count
}

// Describe implements prometheus.Collector.
func (m *pipelineMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all {
		ch <- c.desc
	}
}

// Collect implements prometheus.Collector.
func (m *pipelineMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m.runner.Status() {
		for _, step := range s.Steps {
			for _, c := range m.all {
				if !c.sink || step.Part == pipeline.PartSink {
					ch <- prometheus.MustNewConstMetric(c.desc, c.kind, c.of(step), s.Ref.Namespace, s.Ref.Name, step.Name, step.Kind)
				}
			}
		}
	}
}
