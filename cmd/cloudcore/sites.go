package main

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/controller/sites"
)

// sitesFlags are the settings of EdgeSyncs (sites.edgekit.io).
type sitesFlags struct {
	StatusEvery time.Duration `help:"Least time between two writes of the status of an EdgeSync for its counts of objects and bytes. Anything else is written at once." default:"5s"`
	Off         bool          `help:"Have no part in EdgeSyncs: they are not even watched, and nodes keep what they have."`
}

// config sets up EdgeSyncs; nil if they are turned off.
func (f *sitesFlags) config(log *slog.Logger) (*sites.Config, error) {
	if f.Off {
		return nil, nil
	}
	if f.StatusEvery < time.Second || f.StatusEvery > time.Hour {
		return nil, &program.UsageError{Setting: "sites-status-every", Reason: "must be 1s to 1h"}
	}
	return &sites.Config{StatusEvery: f.StatusEvery, Logger: log.With("component", "sites")}, nil
}

// newSitesMetrics makes the metrics of EdgeSyncs.
func newSitesMetrics(stats func() sites.Stats) prometheus.Collector {
	m := statsmetrics.New("cloudcore_sites_", stats)
	m.Gauge("edgesyncs", "EdgeSyncs that there are.", func(s sites.Stats) float64 { return float64(s.EdgeSyncs) })
	m.Gauge("objects", "Objects of EdgeSyncs that this cloudcore holds for nodes.", func(s sites.Stats) float64 { return float64(s.Objects) })
	m.Gauge("bytes", "Bytes of these objects, as JSON.", func(s sites.Stats) float64 { return float64(s.Bytes) })
	m.Gauge("forbidden", "EdgeSyncs whose objects cloudcore may not read.", func(s sites.Stats) float64 { return float64(s.Forbidden) })
	m.Gauge("limit_exceeded", "EdgeSyncs of which objects are left out, because they have more than their limit.", func(s sites.Stats) float64 { return float64(s.LimitExceeded) })
	m.Counter("reads_total", "Single objects of EdgeSyncs that were read from the API server for a node.", func(s sites.Stats) float64 { return float64(s.Reads) })
	m.Counter("writes_total", "Writes of statuses of EdgeSyncs to the API server.", func(s sites.Stats) float64 { return float64(s.Writes) })
	m.Counter("failed_writes_total", "Writes of statuses of EdgeSyncs that did not work, conflicts included.", func(s sites.Stats) float64 { return float64(s.WritesRefused) })
	return m
}
