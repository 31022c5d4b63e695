package jobs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// TestUpgrade does one upgrade from its download to its commit.
func TestUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put(upgradeJob("one"))
		w.live(w.ended(v1alpha2.KindNodeUpgradeJob, "one"))
		r := w.report(v1alpha2.KindNodeUpgradeJob, "one")
		if r.Phase != v1alpha2.NodeSuccessful || r.CurrentVersion != newVersion || r.HistoricVersion != oldVersion || r.AcceptedTime == nil || r.FinishedTime == nil || r.UID != "uid-one" || r.Generation != 1 {
			t.Errorf("%+v", r)
		}
		if !equalFlow(r, "Check True", "WaitingConfirmation True", "BackUp True", "Upgrade True") {
			t.Errorf("%q", r.flow())
		}
		if want := []string{"NodeUpgradeStarted", "NodeUpgradeSuccessful"}; !slices.Equal(w.events, want) {
			t.Errorf("events %q", w.events)
		}
	})
}

// TestUpgradeRolledBack: one that does not become healthy is rolled back, which is no success.
func TestUpgradeRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.bad = true
		w.put(upgradeJob("one"))
		w.live(w.ended(v1alpha2.KindNodeUpgradeJob, "one"))
		r := w.report(v1alpha2.KindNodeUpgradeJob, "one")
		if r.Phase != v1alpha2.NodeRolledBack || r.CurrentVersion != oldVersion || r.Reason != ReasonUnhealthy || !strings.Contains(r.Message, "pods are not ready") {
			t.Errorf("%+v", r)
		}
		if !equalFlow(r, "Check True", "WaitingConfirmation True", "BackUp True", "Upgrade False", "RollBack True") {
			t.Errorf("%q", r.flow())
		}
		if !strings.Contains(r.Log, "it goes wrong") || strings.Contains(r.Log, "hunter2") {
			t.Errorf("log %q", r.Log)
		}
	})
}

// TestUpgradeKilled kills the program before and after each change of the disk in turn. Each
// upgrade comes to its end: to success, or back if the kill was in the trial; never between.
func TestUpgradeKilled(t *testing.T) {
	killEverywhere(t, v1alpha2.KindNodeUpgradeJob, upgradeJob("one"))
}

// TestConfigKilled is TestUpgradeKilled for changes of the configuration.
func TestConfigKilled(t *testing.T) {
	killEverywhere(t, v1alpha2.KindConfigUpdateJob, configJob("one", map[string]v1alpha2.FieldValue{"max-pods": "50"}))
}

// TestPullKilled is TestUpgradeKilled for pulls: no image is pulled again that is noted as pulled.
func TestPullKilled(t *testing.T) {
	killEverywhere(t, v1alpha2.KindImagePrePullJob, pullJob("one", "a:1", "b:1", "c:1"))
}

func killEverywhere(t *testing.T, kind string, job NodeJob) {
	points := 0
	for kill := 1; ; kill++ {
		reached, inTrial := false, false
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.killAt = kill
			w.pods = map[string]time.Duration{"default/web": time.Minute, "default/db": 3 * time.Minute}
			w.put(job)
			w.live(w.ended(kind, "one"))
			reached = w.changes >= kill
			r := w.report(kind, "one")
			outcome := w.program.outcome
			if kind == v1alpha2.KindConfigUpdateJob {
				outcome = w.settings.outcome
			}
			inTrial = outcome != nil && strings.Contains(outcome.Reason, "it crashed")
			want := v1alpha2.NodeSuccessful
			if inTrial {
				want = v1alpha2.NodeRolledBack
			}
			version := oldVersion
			if kind == v1alpha2.KindNodeUpgradeJob && want == v1alpha2.NodeSuccessful {
				version = newVersion
			}
			if r.Phase != want || w.version != version || w.program.trial || w.settings.trial {
				t.Errorf("killed at change %d: %+v, version %s", kill, r, w.version)
			}
			for _, asked := range w.asked {
				if !slices.Equal(asked, []string{"default/db", "default/web"}) {
					t.Errorf("killed at change %d: the gate asks for %q only", kill, asked)
				}
			}
			for image, n := range count(w.pulls) {
				if n > 2 || !w.images[image] {
					t.Errorf("killed at change %d: %s was pulled %d times", kill, image, n)
				}
			}
		})
		if !reached {
			break
		}
		points++
		if t.Failed() {
			return
		}
	}
	if points < 10 {
		t.Errorf("only %d points", points)
	}
	fmt.Printf("RESULT %s_kill_points %d\n", strings.ToLower(kind), points)
}

func count(all []string) map[string]int {
	out := make(map[string]int)
	for _, s := range all {
		out[s]++
	}
	return out
}
