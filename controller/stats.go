package controller

import (
	"github.com/edgekit/edgekit/controller/fleetmetrics"
	"github.com/edgekit/edgekit/controller/groups"
	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/controller/pipelines"
	"github.com/edgekit/edgekit/controller/rules"
	"github.com/edgekit/edgekit/controller/sites"
	"github.com/edgekit/edgekit/hub"
)

// RulesStats returns the counts of rules; zero without Config.Rules.
func (c *Controller) RulesStats() rules.Stats {
	if c.rules == nil {
		return rules.Stats{}
	}
	return c.rules.Stats()
}

// JobsStats returns the counts of fleet jobs; zero without Config.Jobs.
func (c *Controller) JobsStats() jobs.Stats {
	if c.jobs == nil {
		return jobs.Stats{}
	}
	return c.jobs.Stats()
}

// FleetMetrics are the metrics of all edge nodes together, and of the links that extremes and stats
// are of: hub.Server has both.
func (c *Controller) FleetMetrics(extremes func() hub.Extremes, stats func() hub.Stats) (*fleetmetrics.Collector, error) {
	cfg := fleetmetrics.Config{Nodes: c.nodes, Extremes: extremes, Stats: stats, EventWaits: c.edge.EventWaits}
	if c.jobs != nil {
		cfg.Jobs = c.jobs.Counts
	}
	return fleetmetrics.New(cfg)
}

// Discovery lists the nodes' kubelet endpoints for Prometheus.
func (c *Controller) Discovery() fleetmetrics.Discovery {
	return fleetmetrics.Discovery{Nodes: c.nodes, GroupLabel: v1alpha1.BelongingToLabel}
}

// Mine reports whether this cloudcore is the one of those that run that is to do some work, which
// belongs to no node's session; name names the work. For some seconds after a cloudcore has come
// or gone, two may be, or none.
func (c *Controller) Mine(name string) bool { return c.members.Mine(name) }

// GroupsStats returns the counts of groups and applications; zero without Config.Groups.
func (c *Controller) GroupsStats() groups.Stats {
	if c.groups == nil {
		return groups.Stats{}
	}
	return c.groups.Stats()
}

// SitesStats returns the counts of EdgeSyncs; zero without Config.Sites.
func (c *Controller) SitesStats() sites.Stats {
	if c.sites == nil {
		return sites.Stats{}
	}
	return c.sites.Stats()
}

// PipelinesStats returns the counts of pipelines; zero without Config.Pipelines.
func (c *Controller) PipelinesStats() pipelines.Stats {
	if c.pipelines == nil {
		return pipelines.Stats{}
	}
	return c.pipelines.Stats()
}

// LifecycleStats returns the counts about nodes without a link.
func (c *Controller) LifecycleStats() nodelifecycle.Stats { return c.lifecycle.Stats() }
