package main

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/controller/groups"
)

// groupsFlags are the settings of NodeGroups and EdgeApplications (apps.kubeedge.io).
type groupsFlags struct {
	StatusEvery time.Duration `help:"Least time between two writes of the status of a NodeGroup or EdgeApplication. A new generation or condition is written at once." default:"5s"`
	Writes      int           `help:"How many writes about groups and applications the API server gets in a second. -1 means no limit." default:"100" name:"writes-per-second"`
	Off         bool          `help:"Have no part in groups and applications: their resources are not even watched."`
}

// config sets up groups; nil if they are turned off.
func (f *groupsFlags) config(log *slog.Logger) (*groups.Config, error) {
	if f.Off {
		return nil, nil
	}
	if f.StatusEvery < time.Second || f.StatusEvery > time.Hour {
		return nil, &program.UsageError{Setting: "groups-status-every", Reason: "must be 1s to 1h"}
	}
	if f.Writes == 0 || f.Writes < -1 {
		return nil, &program.UsageError{Setting: "groups-writes-per-second", Reason: "must be 1 or more, or -1 for no limit"}
	}
	return &groups.Config{StatusEvery: f.StatusEvery, WritesPerSecond: f.Writes, Logger: log.With("component", "groups")}, nil
}

// newGroupsMetrics makes the metrics of groups and applications.
func newGroupsMetrics(stats func() groups.Stats) prometheus.Collector {
	m := statsmetrics.New("cloudcore_groups_", stats)
	m.Gauge("leading", "1 if this cloudcore is the one that does the work of groups and applications.", func(s groups.Stats) float64 {
		if s.Leading {
			return 1
		}
		return 0
	})
	m.Gauge("nodegroups", "NodeGroups that there are.", func(s groups.Stats) float64 { return float64(s.Groups) })
	m.Gauge("applications", "EdgeApplications that there are.", func(s groups.Stats) float64 { return float64(s.Apps) })
	m.Counter("labelled_nodes_total", "Writes of the labels of nodes about their group.", func(s groups.Stats) float64 { return float64(s.Labelled) })
	m.Counter("evicted_pods_total", "Pods that were evicted from nodes that left their group.", func(s groups.Stats) float64 { return float64(s.Evicted) })
	m.Counter("blocked_evictions_total", "Evictions that a PodDisruptionBudget did not allow, each try.", func(s groups.Stats) float64 { return float64(s.EvictBlocked) })
	m.Counter("applied_objects_total", "Objects of applications that were applied.", func(s groups.Stats) float64 { return float64(s.Applied) })
	m.Counter("pruned_objects_total", "Objects of applications that were deleted because they left their template.", func(s groups.Stats) float64 { return float64(s.Pruned) })
	m.Counter("writes_total", "Writes about groups and applications to the API server.", func(s groups.Stats) float64 { return float64(s.Writes) })
	m.Counter("failed_writes_total", "Writes about groups and applications that did not work, conflicts included.", func(s groups.Stats) float64 { return float64(s.WritesRefused) })
	return m
}
