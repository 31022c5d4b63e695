package hub

import "time"

// The keepalive as a pure function of what happened when. The edge pings once
// in each interval and the cloud answers, so one ping in each direction is all
// that a link at rest carries. Each side counts whatever arrives as a sign of
// life and gives the link up when too long nothing did.

// maxGrace bounds how long a sign of life may be late.
const maxGrace = 15 * time.Second

type keepalive struct {
	interval time.Duration
	pings    bool      // this side pings
	pinged   time.Time // when the last ping went out
}

// step says at now, with the peer last heard at heard, whether to ping or to
// give up, and when to ask again.
func (k *keepalive) step(now, heard time.Time) (ping, dead bool, next time.Duration) {
	grace := min(k.interval, maxGrace)
	if !k.pings {
		left := heard.Add(k.interval + grace).Sub(now)
		return false, left <= 0, left
	}
	if heard.Before(k.pinged) {
		// A ping is under way.
		if left := k.pinged.Add(grace).Sub(now); left > 0 {
			return false, false, left
		}
		return false, true, 0
	}
	if left := k.pinged.Add(k.interval).Sub(now); left > 0 {
		return false, false, left
	}
	k.pinged = now
	return true, false, grace
}
