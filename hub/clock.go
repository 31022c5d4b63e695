package hub

import (
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub/internal/wire"
)

// How wrong a node's clock is, both sides learn from keepalives. A ping names the time at the edge,
// so the cloud needs no byte more; an answer names the time in the cloud now and then.

// timeEvery is how many answers of a session there are for one with the time.
const timeEvery = 16

// mostAhead bounds in seconds how wrong a clock is: 126 years. A clock without a battery is in 1970.
const mostAhead = 4e9

// answerPingLocked answers a ping and notes what it says of the edge's clock.
func (s *session) answerPingLocked(f wire.Ping) {
	now := time.Now()
	pong := wire.Pong{ID: f.ID}
	if s.pings%timeEvery == 0 {
		pong.Time = uint64(now.UnixMicro())
	}
	s.pings++
	sent := time.Unix(0, int64(f.ID)) // any number is some time
	ahead := sent.Add(f.RoundTrip / 2).Sub(now).Seconds()
	s.clockAhead = float32(max(-mostAhead, min(ahead, mostAhead)))
	s.urgentLocked(pong)
}

// cloudClock is what an edge knows of the time in the cloud.
type cloudClock struct {
	mu    sync.Mutex
	cloud time.Time // at the time at; zero if it is not known
	at    time.Time // has a monotonic reading
}

// read takes the time from an answer that took roundTrip.
func (c *cloudClock) read(f wire.Pong, roundTrip time.Duration) {
	const farthest = 253402300799 // seconds since 1970 at the end of the year 9999
	if f.Time == 0 || f.Time/1e6 > farthest {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cloud, c.at = time.UnixMicro(int64(f.Time)).Add(roundTrip/2), time.Now()
}

// skew is how far now is ahead of the cloud's clock.
func (c *cloudClock) skew(now time.Time) (ahead time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cloud.IsZero() {
		return 0, false
	}
	return now.Round(0).Sub(c.cloud.Add(now.Sub(c.at))), true // Round drops the monotonic reading
}

// ClockAhead returns how far this machine's clock is ahead of the cloud's at now, which is
// time.Now(); negative if it is behind. It is exact to half a round trip when an answer named the
// cloud's time, which is at the first keepalive of a session and every 16th. Between these, and while
// there is no link, it notices at once that the machine's clock was set, and does not notice that both
// its clock and its monotonic clock run too fast or too slow. known is false before the first.
func (c *Client) ClockAhead(now time.Time) (ahead time.Duration, known bool) {
	return c.stats.clock.skew(now)
}

// Extremes are the largest values among the sessions of a Server.
type Extremes struct {
	// Queued is the most objects and events that are to be sent to one node, or on their way.
	Queued int
	// ClockSkew is how far the clock of one node is ahead of or behind this one at most, by its
	// last keepalive, exact to half a round trip. A node that sent none does not count.
	ClockSkew time.Duration
}

// Extremes looks at all sessions: it costs some 100 ns for each, so do not call it often.
func (v *Server) Extremes() Extremes {
	v.mu.Lock()
	all := make([]*session, 0, v.count)
	for _, st := range v.registry {
		if st.holder != nil && st.holder.session != nil {
			all = append(all, st.holder.session)
		}
	}
	v.mu.Unlock()
	var out Extremes
	for _, s := range all {
		s.mu.Lock()
		queued, ahead := s.stateSend.pending+s.eventSend.pending, s.clockAhead
		s.mu.Unlock()
		out.Queued = max(out.Queued, queued)
		out.ClockSkew = max(out.ClockSkew, time.Duration(max(ahead, -ahead)*float32(time.Second)))
	}
	return out
}
