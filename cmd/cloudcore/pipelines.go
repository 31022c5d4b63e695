package main

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/controller/pipelines"
)

// pipelinesFlags are the settings of pipelines (pipelines.edgekit.io).
type pipelinesFlags struct {
	TargetCA     string `help:"Authorities (PEM) of the https:// URLs that sinks of kind cloud send to. Default: the system's." name:"target-ca" placeholder:"FILE"`
	LocalTargets bool   `help:"Let sinks of kind cloud send to URLs at addresses of cloudcore's own machine (loopback) and link-local addresses."`
	Off          bool   `help:"Have no part in pipelines: their resource is not even watched."`
}

// config sets up pipelines; nil if they are turned off.
func (f *pipelinesFlags) config(log *slog.Logger) (*pipelines.Config, error) {
	if f.Off {
		return nil, nil
	}
	expressions, err := cel.New(cel.Config{})
	if err != nil {
		return nil, fmt.Errorf("expressions of pipelines: %w", err)
	}
	cfg := &pipelines.Config{LocalTargets: f.LocalTargets, Logger: log.With("component", "pipelines")}
	cfg.Check = func(p *v1alpha1.Pipeline) error {
		_, err := pipeline.Compile(p, pipeline.Options{Expressions: expressions, Decoder: codec.New, Schema: codec.Schema})
		return err
	}
	if f.TargetCA != "" {
		text, err := os.ReadFile(f.TargetCA)
		cfg.TargetCAs = x509.NewCertPool()
		if err == nil && !cfg.TargetCAs.AppendCertsFromPEM(text) {
			err = fmt.Errorf("%s has no certificate (PEM)", f.TargetCA)
		}
		if err != nil {
			return nil, &program.UsageError{Setting: "pipelines-target-ca", Reason: err.Error()}
		}
	}
	return cfg, nil
}

// newPipelinesMetrics makes the metrics of pipelines.
func newPipelinesMetrics(stats func() pipelines.Stats) prometheus.Collector {
	m := statsmetrics.New("cloudcore_pipelines_", stats)
	m.Gauge("pipelines", "Pipelines that there are.", func(s pipelines.Stats) float64 { return float64(s.Pipelines) })
	m.Counter("delivered_events_total", "Events of pipelines that URLs took.", func(s pipelines.Stats) float64 { return float64(s.Delivered) })
	m.Counter("failed_total", "Tries of batches of events that failed.", func(s pipelines.Stats) float64 { return float64(s.Failed) })
	m.Counter("expired_events_total", "Events that were given up.", func(s pipelines.Stats) float64 { return float64(s.Expired) })
	m.Counter("dropped_batches_total", "Batches of nodes that no pipeline is for, or that cannot be read.", func(s pipelines.Stats) float64 { return float64(s.Dropped) })
	m.Counter("reports_total", "Reports of nodes about their pipelines.", func(s pipelines.Stats) float64 { return float64(s.Reports) })
	m.Counter("refused_reports_total", "Reports that cannot be read, or are of another node's pipeline.", func(s pipelines.Stats) float64 { return float64(s.Refused) })
	return m
}
