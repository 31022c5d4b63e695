package main

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// upgradePhases are the phases in the order of their numbers in metrics.
func upgradePhases() []upgrade.Phase {
	return []upgrade.Phase{upgrade.Idle, upgrade.Downloading, upgrade.Verified, upgrade.Trial, upgrade.Committed, upgrade.RolledBack}
}

// newUpgradeMetrics are the metrics of how the program on this node is replaced.
func newUpgradeMetrics(u *upgrade.Upgrader) prometheus.Collector {
	state := func() upgrade.State { return upgrade.State{Phase: upgrade.Idle} }
	if u != nil {
		state = u.State
	}
	m := statsmetrics.New("edgecore_upgrade_", state)
	m.Gauge("phase", "How far the upgrade of this node's program is: 0 none yet, 1 downloading, 2 verified, 3 on trial, 4 committed, 5 rolled back.", func(s upgrade.State) float64 {
		return float64(slices.Index(upgradePhases(), s.Phase))
	})
	m.Gauge("slot", "Where the program that runs is: 0 the package, 1 slot a, 2 slot b.", func(s upgrade.State) float64 {
		return float64(slices.Index([]upgrade.Slot{upgrade.Base, upgrade.A, upgrade.B}, s.Running))
	})
	m.Gauge("tries", "How often the program on trial was started.", func(s upgrade.State) float64 { return float64(s.Tries) })
	m.Gauge("download_bytes", "Bytes of the download that are there.", func(s upgrade.State) float64 { return float64(s.Done) })
	m.Gauge("download_size_bytes", "Bytes of the whole download; 0 while it is not known.", func(s upgrade.State) float64 { return float64(s.Total) })
	return m
}
