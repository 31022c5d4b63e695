package main

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/meta/resources"
	"github.com/edgekit/edgekit/twin"
)

// TestFigures: a report changes at once when somebody has to look at the node, and else seldom.
func TestFigures(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ends, ahead, stale := now.Add(1000*time.Hour), time.Duration(0), 0
	f := &figures{
		dir: t.TempDir(), identity: func() join.IdentityStats { return join.IdentityStats{Certificate: ends} },
		clockAhead: func(time.Time) (time.Duration, bool) { return ahead, true },
		devices: func() []twin.Device {
			twins := make(map[string]twin.Twin)
			for i := range stale {
				twins[string(rune('a'+i))] = twin.Twin{Actual: &twin.Value{}}
			}
			return []twin.Device{{ID: "a/b", State: "offline", Twins: twins}}
		},
	}
	reports := make(map[string]bool)
	step := func(d time.Duration, status corev1.ConditionStatus, reason string) resources.Figures {
		t.Helper()
		now = now.Add(d)
		c := f.condition(now)
		if c.Type != resources.ConditionDegraded || c.Status != status || c.Reason != reason {
			t.Errorf("%+v, want %s %s", c, status, reason)
		}
		got, err := resources.ParseFigures(c.Message)
		if err != nil {
			t.Errorf("%s: %v", c.Message, err)
		}
		reports[c.Message] = true
		return got
	}
	if d, ok := f.look(now), true; ok && d.StoreFill >= degradedFill {
		t.Skip("this machine's disk is nearly full")
	}
	first := step(0, corev1.ConditionFalse, resources.ReasonAsExpected)
	if !first.Certificate.Equal(ends) {
		t.Errorf("%+v", first)
	}
	// An hour with a device that comes and goes, and a clock that trembles: nothing new travels.
	for i := range 58 {
		stale, ahead = i%5, time.Duration(i%7)*time.Second
		step(time.Minute, corev1.ConditionFalse, resources.ReasonAsExpected)
	}
	if len(reports) != 1 {
		t.Errorf("%d reports in an hour: %v", len(reports), reports)
	}
	stale = 3
	if got := step(5*time.Minute, corev1.ConditionFalse, resources.ReasonAsExpected); got.TwinsStale != 3 {
		t.Errorf("after an hour: %+v", got)
	}
	// Somebody sets the clock.
	ahead = -56 * 365 * 24 * time.Hour
	if got := step(time.Minute, corev1.ConditionTrue, resources.ReasonClockSkewed); got.ClockAhead != ahead {
		t.Errorf("%+v", got)
	}
	ends = now.Add(time.Hour)
	step(time.Minute, corev1.ConditionTrue, resources.ReasonCertificateExpiring)
	ends, ahead = now.Add(1000*time.Hour), 0
	step(time.Minute, corev1.ConditionFalse, resources.ReasonAsExpected)
	// A clock that goes back by years does not stop the reports.
	ahead = time.Hour
	step(-10*365*24*time.Hour, corev1.ConditionTrue, resources.ReasonClockSkewed)
}
