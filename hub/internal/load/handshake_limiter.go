package load

import "time"

// HandshakeLimiter paces handshakes. It is a pure function of the times at which they
// arrive: at most rate of them start in any second. A few may wait; the others are told
// when to return, one after the other at the same pace, so that clients that came
// together come back spread out. The zero value has no limit.
type HandshakeLimiter struct {
	every      time.Duration // between two, in the long run
	slack      time.Duration // how far ahead of that they may be
	maxWait    time.Duration // how long one may wait
	waiting    int           // reserved and not yet taken
	next       time.Time     // when the next one is due
	lastReturn time.Time     // when the last one that was sent away may return
}

const (
	returnMin    = time.Second     // the shortest time for which one is sent away
	maxWaitLimit = 2 * time.Second // the longest that one waits
)

// NewHandshakeLimiter splits rate, per second, into a steady pace and a burst on top.
// waiting is how many may wait.
func NewHandshakeLimiter(rate, waiting int) HandshakeLimiter {
	if rate < 0 {
		return HandshakeLimiter{}
	}
	burst := max(1, rate/10)
	every := time.Second / time.Duration(max(1, rate-burst))
	return HandshakeLimiter{every: every, slack: time.Duration(burst-1) * every, maxWait: min(time.Duration(waiting)*every, maxWaitLimit)}
}

// Reserve lets one handshake wait, and Take or Cancel must follow; or it returns how
// long the client has to stay away.
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

// Take starts one handshake that has waited, or returns for how long it is too early.
// The limit applies at this moment, not when the wait was planned: goroutines that wake
// late together because the CPU is short do not start together.
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

// Cancel gives a reservation back.
func (a *HandshakeLimiter) Cancel() { a.waiting-- }

// early is how long it takes until one may start.
func (a *HandshakeLimiter) early(now time.Time) time.Duration {
	return max(0, a.next.Sub(now.Add(a.slack)))
}
