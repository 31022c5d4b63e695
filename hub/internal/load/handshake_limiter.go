package load

import "time"

// HandshakeLimiter paces handshakes, as a pure function of when they come and pass: at
// most rate of them pass in any second. Some wait at the door; those that are too
// many for that are told when to return, one after the other in the same pace, so
// that a herd comes back in a line. The zero value admits all.
type HandshakeLimiter struct {
	every      time.Duration // between two, in the long run
	slack      time.Duration // how far ahead of that they may be
	maxWait    time.Duration // how long one may wait at the door
	waiting    int           // at the door
	next       time.Time     // when the next one would be in time
	lastReturn time.Time     // when the last one that was sent away returns
}

const (
	returnMin    = time.Second     // the shortest time that one is sent away for
	maxWaitLimit = 2 * time.Second // the longest that one waits at the door
)

// NewHandshakeLimiter splits rate, per second, into a steady pace and a burst on top.
// waiting is how many may be at the door.
func NewHandshakeLimiter(rate, waiting int) HandshakeLimiter {
	if rate < 0 {
		return HandshakeLimiter{}
	}
	burst := max(1, rate/10)
	every := time.Second / time.Duration(max(1, rate-burst))
	return HandshakeLimiter{every: every, slack: time.Duration(burst-1) * every, maxWait: min(time.Duration(waiting)*every, maxWaitLimit)}
}

// Reserve lets one wait at the door, which pass or leave must follow, or says how
// long it has to stay away.
func (a *HandshakeLimiter) Reserve(now time.Time) (away time.Duration) {
	if a.early(now)+time.Duration(a.waiting)*a.every <= a.maxWait {
		a.waiting++
		return 0
	}
	if soonest := now.Add(returnMin); a.lastReturn.Before(soonest) {
		a.lastReturn = soonest
	}
	a.lastReturn = a.lastReturn.Add(a.every)
	return a.lastReturn.Sub(now)
}

// Take lets one in that is at the door, or says for how long it is too early. It
// is the moment of passing that counts: those who wake late together, since the
// CPU is short, do not pass together.
func (a *HandshakeLimiter) Take(now time.Time) (early time.Duration) {
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

// Cancel takes one from the door that gave up.
func (a *HandshakeLimiter) Cancel() { a.waiting-- }

// early is how long it takes until one may pass.
func (a *HandshakeLimiter) early(now time.Time) time.Duration {
	return max(0, a.next.Sub(now.Add(a.slack)))
}
