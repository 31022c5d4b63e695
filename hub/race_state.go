package hub

import "time"

// The decisions of a Racer, as pure functions of what happened.

// remembered is who won the last race, and until when that counts. The zero
// value is the best lane, for which no time is needed.
type remembered struct {
	lane  int
	until time.Time
}

// order is how the lanes set out at now: the remembered winner, then the
// others, the best one first.
func (m remembered) order(now time.Time, lanes int) []int {
	order := make([]int, 0, lanes)
	first := 0
	if now.Before(m.until) {
		first = m.lane
	}
	order = append(order, first)
	for lane := range lanes {
		if lane != first {
			order = append(order, lane)
		}
	}
	return order
}

// won is what to remember after lane won a race at now. One that wins again
// within its time does not gain more of it, so that the best lane gets its
// turn.
func (m remembered) won(lane int, now time.Time, d time.Duration) remembered {
	switch {
	case lane == 0:
		return remembered{}
	case lane == m.lane && now.Before(m.until):
		return m
	}
	return remembered{lane: lane, until: now.Add(d)}
}

// race is where one race stands.
type race struct {
	waiting []int // lanes that have not set out, in order
	running int   // lanes under way
}

func newRace(order []int) *race { return &race{waiting: order} }

// start lets the next lane set out, if there is one.
func (r *race) start() (lane int, ok bool) {
	if len(r.waiting) == 0 {
		return 0, false
	}
	lane = r.waiting[0]
	r.waiting = r.waiting[1:]
	r.running++
	return lane, true
}

// finish takes one lane in and says how many are still under way.
func (r *race) finish() int {
	r.running--
	return r.running
}

// lost reports whether nobody can win any more: nobody is under way, nor will
// be when the race was called off.
func (r *race) lost(off bool) bool {
	return r.running == 0 && (off || len(r.waiting) == 0)
}
