package main

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgekit/edgekit/edged/upgrade"
)

// TestUpgradeMetrics: a node without upgrades shows that there was none.
func TestUpgradeMetrics(t *testing.T) {
	u, err := upgrade.New(upgrade.Config{DataDir: t.TempDir(), Start: upgrade.Start{Slot: upgrade.B}, Release: upgrade.Release{Version: "v1.0.0"}})
	if err != nil {
		t.Fatal(err)
	}
	for slot, u := range map[string]*upgrade.Upgrader{"0": nil, "2": u} {
		want := `# HELP edgecore_upgrade_phase How far the upgrade of this node's program is: 0 none yet, 1 downloading, 2 verified, 3 on trial, 4 committed, 5 rolled back.
# TYPE edgecore_upgrade_phase gauge
edgecore_upgrade_phase 0
# HELP edgecore_upgrade_slot Where the program that runs is: 0 the package, 1 slot a, 2 slot b.
# TYPE edgecore_upgrade_slot gauge
edgecore_upgrade_slot ` + slot + "\n"
		if err := testutil.CollectAndCompare(newUpgradeMetrics(u), strings.NewReader(want), "edgecore_upgrade_phase", "edgecore_upgrade_slot"); err != nil {
			t.Error(err)
		}
	}
}
