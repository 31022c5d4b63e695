package replica

import "time"

// The keepalive as a pure function of what happened when. The edge pings once
// in each interval and the cloud answers, so one ping in each direction is all
// that a link at rest carries. Each side counts whatever arrives as a sign of
// life and gives the link up when too long nothing did.

// maxGrace bounds how long a sign of life may be late.
const maxGrace = 15 * time.Second

type Keepalive struct {
	Interval time.Duration
	Pings    bool      // this side pings
	Pinged   time.Time // when the last ping went out
}

// Step says at now, with the peer last heard at heard, whether to ping or to
// give up, and when to ask again.
func (k *Keepalive) Step(now, heard time.Time) (ping, dead bool, next time.Duration) {
	grace := min(k.Interval, maxGrace)
	if !k.Pings {
		left := heard.Add(k.Interval + grace).Sub(now)
		return false, left <= 0, left
	}
	if heard.Before(k.Pinged) {
		// A ping is under way.
		if left := k.Pinged.Add(grace).Sub(now); left > 0 {
			return false, false, left
		}
		return false, true, 0
	}
	if left := k.Pinged.Add(k.Interval).Sub(now); left > 0 {
		return false, false, left
	}
	k.Pinged = now
	return true, false, grace
}
