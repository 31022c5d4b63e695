package hub

import (
	"time"

	"github.com/edgekit/edgekit/hub/internal/load"
)

// Backoff spaces attempts to connect: the n-th waits a random time of up to Min doubled
// n times, but not more than Max ("full jitter"), so that many edges that lost one
// server do not return at once. A wait that the server asked for is added.
type Backoff struct {
	Min time.Duration // 0 means 500 ms
	Max time.Duration // 0 means 30 s
}

func (b Backoff) withDefaults() Backoff {
	if b.Min == 0 {
		b.Min = 500 * time.Millisecond
	}
	if b.Max == 0 {
		b.Max = max(30*time.Second, b.Min)
	}
	return b
}

// ceiling is the longest wait before the given attempt, counted from 0.
func (b Backoff) ceiling(attempt int) time.Duration {
	d := b.Min << min(attempt, 32)
	if d <= 0 || d > b.Max {
		return b.Max
	}
	return d
}

// probeEvery is how often a fenced program asks whether the node is free again,
// unless the server says when.
const probeEvery = 5 * time.Minute

// probeAfter is when a fenced program asks next, besides the back-off. asked is the wait that
// the server asked for, or zero. A program that was fenced just now (first) asks soon, so
// that the server learns that both programs run. chance is evenly distributed over [0, 1).
func probeAfter(asked time.Duration, first bool, chance float64) time.Duration {
	switch {
	case asked == 0 && first:
		return 0
	case asked == 0:
		asked = probeEvery
	}
	return asked + time.Duration(chance*float64(asked/2))
}

// wait is the wait itself; chance is evenly spread over [0, 1).
func (b Backoff) wait(attempt int, notBefore time.Duration, chance float64) time.Duration {
	return notBefore + time.Duration(chance*float64(b.ceiling(attempt)))
}

// Timers runs the keepalive timers of many links on one Go timer. Go's runtime looks through
// all of its timers whenever a timer that was moved forward is due. With QUIC that happens
// some dozen times a second, so one more timer for each of 100,000 links would cost half a
// core.
//
// A Server has one. A Client has its own, unless a program with many Clients gives them one.
// The zero value is ready. Several goroutines may use it at once.
type Timers struct{ heap load.TimerHeap }
