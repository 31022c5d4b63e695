package hub

import "time"

// admission paces handshakes, as a pure function of when they come: at most
// rate of them in any second. Some wait at the door; those that are too many for
// that are told when to return, one after the other in the same pace, so that a
// herd comes back in a line. The zero value admits all.
type admission struct {
	every    time.Duration // between two, in the long run
	slack    time.Duration // how far ahead of that they may be
	patience time.Duration // how long one may wait at the door
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
	return admission{every: every, slack: time.Duration(burst-1) * every, patience: time.Duration(waiting) * every}
}

// take lets one in after a wait, or says how long it has to stay away.
func (a *admission) take(now time.Time) (wait, away time.Duration) {
	if a.every == 0 {
		return 0, 0
	}
	if a.next.Before(now) {
		a.next = now
	}
	if wait := max(0, a.next.Sub(now)-a.slack); wait <= min(a.patience, patienceMax) {
		a.next = a.next.Add(a.every)
		return wait, 0
	}
	if soonest := now.Add(returnMin); a.back.Before(soonest) {
		a.back = soonest
	}
	a.back = a.back.Add(a.every)
	return 0, a.back.Sub(now)
}
