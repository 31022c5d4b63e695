package main

import (
	"log/slog"
	"time"
	_ "time/tzdata" // windows of jobs name time zones, which an image without a system lacks

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/controller/jobs"
)

// jobsFlags are the settings of fleet jobs (operations.kubeedge.io).
type jobsFlags struct {
	StatusEvery time.Duration `help:"Least time between two writes of the counts in the status of a NodeUpgradeJob, ImagePrePullJob or ConfigUpdateJob. A new phase or batch is written at once." default:"5s"`
	Writes      int           `help:"How many writes about jobs the API server gets in a second, besides the reports of nodes. -1 means no limit." default:"100" name:"writes-per-second"`
	Off         bool          `help:"Have no part in fleet jobs: their resources are not even watched, and nodes get none."`
}

// config sets up fleet jobs; nil if they are turned off.
func (f *jobsFlags) config(log *slog.Logger) (*jobs.Config, error) {
	if f.Off {
		return nil, nil
	}
	if f.StatusEvery < time.Second || f.StatusEvery > time.Hour {
		return nil, &program.UsageError{Setting: "jobs-status-every", Reason: "must be 1s to 1h"}
	}
	if f.Writes == 0 || f.Writes < -1 {
		return nil, &program.UsageError{Setting: "jobs-writes-per-second", Reason: "must be 1 or more, or -1 for no limit"}
	}
	return &jobs.Config{StatusEvery: f.StatusEvery, WritesPerSecond: f.Writes, Logger: log.With("component", "jobs")}, nil
}

// newJobsMetrics makes the metrics of fleet jobs.
func newJobsMetrics(stats func() jobs.Stats) prometheus.Collector {
	m := statsmetrics.New("cloudcore_jobs_", stats)
	m.Gauge("leading", "1 if this cloudcore is the one that does the work of fleet jobs.", func(s jobs.Stats) float64 {
		if s.Leading {
			return 1
		}
		return 0
	})
	m.Gauge("active", "Fleet jobs that go on, as the cloudcore that leads knows them; 0 at the others.", func(s jobs.Stats) float64 { return float64(s.Active) })
	m.Gauge("working_nodes", "Nodes that apply a fleet job, as the cloudcore that leads knows them; 0 at the others.", func(s jobs.Stats) float64 { return float64(s.Working) })
	m.Counter("permissions_total", "Permissions (download, apply, paused, cancelled) that nodes were given.", func(s jobs.Stats) float64 { return float64(s.Permissions) })
	m.Counter("reports_total", "Reports of nodes about fleet jobs that were stored.", func(s jobs.Stats) float64 { return float64(s.Reports) })
	m.Counter("refused_reports_total", "Reports of nodes about fleet jobs that cannot be read or are of no job of the node.", func(s jobs.Stats) float64 { return float64(s.Refused) })
	m.Counter("timed_out_nodes_total", "Nodes that accepted a fleet job and did not report in time.", func(s jobs.Stats) float64 { return float64(s.TimedOut) })
	m.Counter("ended_total", "Fleet jobs that ended, those that failed included.", func(s jobs.Stats) float64 { return float64(s.Ended) })
	m.Counter("failed_total", "Fleet jobs that failed.", func(s jobs.Stats) float64 { return float64(s.Failed) })
	m.Counter("writes_total", "Writes about fleet jobs to the API server.", func(s jobs.Stats) float64 { return float64(s.Writes) })
	m.Counter("failed_writes_total", "Writes about fleet jobs that did not work, conflicts included.", func(s jobs.Stats) float64 { return float64(s.WritesFailed) })
	return m
}
