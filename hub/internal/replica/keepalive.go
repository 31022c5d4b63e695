package replica

import "time"

// The edge pings once in each interval and the cloud answers: a link at rest carries one
// small frame in each direction. Each side takes whatever arrives as a sign of life and
// gives the link up when nothing arrives for too long.

// maxGrace bounds how long a sign of life may be late.
const maxGrace = 15 * time.Second

// Keepalive decides when to ping and when to give a link up.
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
