package hub

import (
	"math"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/internal/wire"
)

// TestCloudClock: an edge compares wall clocks, and what a cloud sends cannot do harm.
func TestCloudClock(t *testing.T) {
	var c cloudClock
	c.read(wire.Pong{ID: 1}, time.Second) // no time
	for _, absurd := range []uint64{math.MaxUint64, 253402300800 * 1e6} {
		c.read(wire.Pong{Time: absurd}, 0)
	}
	if _, known := c.skew(time.Now()); known {
		t.Error("known, though no answer had a time")
	}
	c.read(wire.Pong{Time: uint64(time.Now().Add(-time.Hour).UnixMicro())}, 2*time.Second)
	if ahead, known := c.skew(time.Now()); !known || (ahead-time.Hour+time.Second).Abs() > 100*time.Millisecond {
		t.Errorf("ahead by %v, want an hour less half a round trip", ahead)
	}
	// A minute later by the monotonic clock, with a wall clock that somebody set back by a day.
	c.at = c.at.Add(-time.Minute)
	if ahead, _ := c.skew(time.Now()); (ahead - 59*time.Minute + time.Second).Abs() > 100*time.Millisecond {
		t.Errorf("ahead by %v after the wall clock lost a minute", ahead)
	}
}
