package race

import "time"

// Winner is who won the last race, and until when that counts. The zero
// value is the best lane, for which no time is needed.
type Winner struct {
	Lane  int
	until time.Time
}

// Order is how the lanes set out at now: the remembered winner, then the
// others, the best one first.
func (m Winner) Order(now time.Time, lanes int) []int {
	order := make([]int, 0, lanes)
	first := 0
	if now.Before(m.until) {
		first = m.Lane
	}
	order = append(order, first)
	for lane := range lanes {
		if lane != first {
			order = append(order, lane)
		}
	}
	return order
}

// Won is what to remember after lane won a race at now. One that wins again
// within its time does not gain more of it, so that the best lane gets its
// chance.
func (m Winner) Won(lane int, now time.Time, d time.Duration) Winner {
	switch {
	case lane == 0:
		return Winner{}
	case lane == m.Lane && now.Before(m.until):
		return m
	}
	return Winner{Lane: lane, until: now.Add(d)}
}

// raceAgain is how long a lane that has failed waits before it sets out again,
// in a race that is not over.
const raceAgain = time.Second

// State is where one race stands.
type State struct {
	waiting []int // lanes that have not set out, in order
	again   []int // lanes that have failed and may set out again, in order
	running int   // lanes under way
}

// New begins a race in that order.
func New(order []int) *State { return &State{waiting: order} }

// Start lets the next lane set out, if there is one.
func (r *State) Start() (lane int, ok bool) {
	from := &r.waiting
	if len(r.waiting) == 0 {
		from = &r.again
	}
	if len(*from) == 0 {
		return 0, false
	}
	lane = (*from)[0]
	*from = (*from)[1:]
	r.running++
	return lane, true
}

// Next is when the lane after this one sets out, unless this one has won by
// then: after the head start, or at once if it has failed; one that sets out
// again waits longer. It reports false if there is none.
func (r *State) Next(headStart time.Duration) (time.Duration, bool) {
	switch {
	case len(r.waiting) > 0:
		return headStart, true
	case len(r.again) > 0:
		return raceAgain, true
	}
	return 0, false
}

// Finish takes one lane in and says how many are still under way.
func (r *State) Finish() int {
	r.running--
	return r.running
}

// Failed notes that a lane has. A server that cannot be reached now may be in a
// moment, while another lane waits for it in vain for long; but one that has
// answered is not asked again.
func (r *State) Failed(lane int, answered bool) {
	if !answered {
		r.again = append(r.again, lane)
	}
}

// Lost reports whether the race is over with no winner: each lane has failed
// and none is under way, or it was called off.
func (r *State) Lost(off bool) bool {
	return r.running == 0 && (off || len(r.waiting) == 0)
}
