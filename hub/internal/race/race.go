package race

import "time"

// Winner is the lane that won the last race, and until when that is remembered. The zero
// value is the best lane, which comes first without being remembered.
type Winner struct {
	Lane  int
	until time.Time
}

// Order is the order in which the lanes start at now: the remembered winner, then the
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

// Won is what to remember after lane won a race at now. A winner that wins again is not
// remembered for longer, so that the best lane is tried first again some day.
func (m Winner) Won(lane int, now time.Time, d time.Duration) Winner {
	switch {
	case lane == 0:
		return Winner{}
	case lane == m.Lane && now.Before(m.until):
		return m
	}
	return Winner{Lane: lane, until: now.Add(d)}
}

// raceAgain is how long a lane that has failed waits before it starts again, in a race
// that is not over.
const raceAgain = time.Second

// State is where one race stands.
type State struct {
	waiting []int // lanes that have not started, in order
	again   []int // lanes that have failed and may start again, in order
	running int   // lanes that have started and not ended
}

// New begins a race in that order.
func New(order []int) *State { return &State{waiting: order} }

// Start starts the next lane, if there is one.
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

// Next is how long after this lane the next one starts, unless this one has won by then:
// headStart, or raceAgain for a lane that has failed before. After a failure the caller
// passes 0 as headStart. It reports false if there is no further lane.
func (r *State) Next(headStart time.Duration) (time.Duration, bool) {
	switch {
	case len(r.waiting) > 0:
		return headStart, true
	case len(r.again) > 0:
		return raceAgain, true
	}
	return 0, false
}

// Finish counts one lane as ended and returns how many are still under way.
func (r *State) Finish() int {
	r.running--
	return r.running
}

// Failed records that a lane has failed. It starts again, since a server that cannot be
// reached now may be in a moment, while another lane may wait for a long time-out; but a
// server that has answered is not asked again.
func (r *State) Failed(lane int, answered bool) {
	if !answered {
		r.again = append(r.again, lane)
	}
}

// Lost reports whether the race is over with no winner: each lane has failed, or the race
// was called off, and none is under way.
func (r *State) Lost(off bool) bool {
	return r.running == 0 && (off || len(r.waiting) == 0)
}
