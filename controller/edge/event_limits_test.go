package edge

import (
	"fmt"
	"testing"
	"time"
)

// TestAttackEvents: a node that floods events gets its rate, whether it connects again or not, and leaves
// one line a minute; others are not concerned.
func TestAttackEvents(t *testing.T) {
	var e eventLimits
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	written, lines := 0, 0
	for second := range 600 {
		for i := range 1000 {
			ok, warn := e.allow("flood", 1, now.Add(time.Duration(second)*time.Second+time.Duration(i)*time.Millisecond))
			if ok {
				written++
			}
			if warn {
				lines++
			}
		}
	}
	if most := eventsBurst + 600*eventsPerSecond; written > most || written < most-200 || lines > 11 || e.waits != uint64(600_000-written) {
		t.Errorf("%d written of 600,000, %d are allowed; %d lines, %d waits", written, most, lines, e.waits)
	}
	now = now.Add(10 * time.Minute)
	for i := range 1000 {
		if ok, _ := e.allow(fmt.Sprint("node-", i), 1, now); !ok {
			t.Error("another node's event waits")
		}
	}
	// Nodes that report nothing for a while are forgotten.
	e.allow("flood", 1, now.Add(time.Hour))
	if len(e.of) != 1 {
		t.Errorf("%d nodes are remembered", len(e.of))
	}
}
