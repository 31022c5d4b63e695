package hub

import "time"

// admission paces handshakes, as a pure function of when they come and pass: at
// most rate of them pass in any second. Some wait at the door; those that are too
// many for that are told when to return, one after the other in the same pace, so
// that a herd comes back in a line. The zero value admits all.
type admission struct {
	every    time.Duration // between two, in the long run
	slack    time.Duration // how far ahead of that they may be
	patience time.Duration // how long one may wait at the door
	waiting  int           // at the door
	next     time.Time     // when the next one would be in time
	back     time.Time     // when the last one that was sent away returns
}

const (
	returnMin   = time.Second     // the shortest time that one is sent away for
	patienceMax = 2 * time.Second // the longest that one waits at the door
)

// newAdmission splits rate, per second, into a steady pace and a burst on top.
// waiting is how many may be at the door.
func newAdmission(rate, waiting int) admission {
	if rate < 0 {
		return admission{}
	}
	burst := max(1, rate/10)
	every := time.Second / time.Duration(max(1, rate-burst))
	return admission{every: every, slack: time.Duration(burst-1) * every, patience: min(time.Duration(waiting)*every, patienceMax)}
}

// come lets one wait at the door, which pass or leave must follow, or says how
// long it has to stay away.
func (a *admission) come(now time.Time) (away time.Duration) {
	if a.early(now)+time.Duration(a.waiting)*a.every <= a.patience {
		a.waiting++
		return 0
	}
	if soonest := now.Add(returnMin); a.back.Before(soonest) {
		a.back = soonest
	}
	a.back = a.back.Add(a.every)
	return a.back.Sub(now)
}

// pass lets one in that is at the door, or says for how long it is too early. It
// is the moment of passing that counts: those who wake late together, since the
// CPU is short, do not pass together.
func (a *admission) pass(now time.Time) (early time.Duration) {
	if early = a.early(now); early > 0 {
		return early
	}
	if a.next.Before(now) {
		a.next = now
	}
	a.next = a.next.Add(a.every)
	a.waiting--
	return 0
}

// leave takes one from the door that gave up.
func (a *admission) leave() { a.waiting-- }

// early is how long it takes until one may pass.
func (a *admission) early(now time.Time) time.Duration { return max(0, a.next.Sub(now.Add(a.slack))) }
