package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/jobs"
)

// TestJobsConfig: fleet jobs can be turned off, and wrong settings are refused by name.
func TestJobsConfig(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if cfg, err := (&jobsFlags{Off: true}).config(log); cfg != nil || err != nil {
		t.Errorf("off: %+v, %v", cfg, err)
	}
	if cfg, err := (&jobsFlags{StatusEvery: time.Minute, Writes: -1}).config(log); err != nil || cfg.StatusEvery != time.Minute || cfg.WritesPerSecond != -1 {
		t.Errorf("%+v, %v", cfg, err)
	}
	for setting, f := range map[string]jobsFlags{"jobs-status-every": {Writes: 1}, "jobs-writes-per-second": {StatusEvery: time.Second}} {
		_, err := f.config(log)
		if usage, ok := errors.AsType[*program.UsageError](err); !ok || usage.Setting != setting {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

// TestJobsMetrics: every count is a metric with a help text.
func TestJobsMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newJobsMetrics(func() jobs.Stats { return jobs.Stats{Leading: true, Active: 2} }))
	families, err := registry.Gather()
	if err != nil || len(families) != 11 {
		t.Fatalf("%d metrics: %v", len(families), err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "cloudcore_jobs_") || f.GetHelp() == "" {
			t.Errorf("%s: %q", f.GetName(), f.GetHelp())
		}
	}
}
