package upgrade

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// verdict is what a gate says.
type verdict int

const (
	wait verdict = iota
	commit
	rollBack
)

// gate judges a trial. It is a value: judge returns the next one. Its times are those of a
// monotonic clock, which goes on when the system's is set.
type gate struct {
	health Health
	begun  time.Time
	since  time.Time // all is well since then; zero: it is not
}

// judge takes what is wrong at a time, "" for nothing.
func (g gate) judge(now time.Time, problem string) (gate, verdict) {
	switch {
	case problem != "":
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = now
	}
	switch {
	case !g.since.IsZero() && now.Sub(g.since) >= g.health.Stable:
		return g, commit
	case now.Sub(g.begun) >= g.health.Timeout:
		return g, rollBack
	}
	return g, wait
}

// reason says why a trial is rolled back whose node has a problem at the end, or "" for none then.
func (g gate) reason(problem string) string {
	if problem == "" {
		problem = "the node was not well for long enough without a break"
	}
	return fmt.Sprintf("not healthy within %s: %s", g.health.Timeout, problem)
}

// trial is what a record remembers of a trial, of a program or of settings.
type trial struct {
	Tries   int      `json:"tries,omitempty"`
	Started bool     `json:"started,omitempty"` // it was started and has not ended in order
	Health  Health   `json:"health,omitzero"`
	Link    bool     `json:"link,omitempty"` // there was a link before the switch
	Pods    []string `json:"pods,omitempty"` // that were ready before the switch
}

// problem says what keeps the node of a trial from being as well as before: "" for nothing.
// linked and pods are those of now; pods holds all that this node is to run, and whether
// they are ready.
func (t trial) problem(linked bool, pods map[string]bool) string {
	if t.Link && !linked && !t.Health.IgnoreLink {
		return "there is no link to the cloud, and there was one before"
	}
	if t.Health.IgnorePods {
		return ""
	}
	var missing []string
	for _, key := range t.Pods {
		if ready, there := pods[key]; there && !ready { // one that is gone is not to run any more
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	const shown = 5
	names := strings.Join(missing[:min(shown, len(missing))], ", ")
	if len(missing) > shown {
		names += fmt.Sprintf(" and %d more", len(missing)-shown)
	}
	return "pods that were ready before are not: " + names
}

// readyPods lists the keys of pods that are ready, as many as the record has room for.
func readyPods(pods map[string]bool) []string {
	var keys []string
	for key, ready := range pods {
		if ready && len(key) <= maxPodKey {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys[:min(len(keys), maxPods)]
}
