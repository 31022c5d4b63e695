package mqtt

import "time"

const (
	// silenceCalls is how many calls in a row must be without an answer, and silenceTime how long
	// there must be none, before the Link has the Bus connect again.
	silenceCalls = 3
	silenceTime  = 30 * time.Second
	// silenceMost is the longest time between two such connections.
	silenceMost = 10 * time.Minute
)

// silence is how long the Link has been without an answer. Link.mu guards it.
type silence struct {
	calls int           // without an answer, in a row
	since time.Time     // when the first of them ended, or the Bus was connected again
	pause time.Duration // before the next connection; 0 means silenceTime
}

// heard notes an answer.
func (l *Link) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silence = silence{}
}

// missed notes a call without an answer. The connection may be there and the subscriptions lost,
// so after some the Bus connects and subscribes again, and then less and less often.
func (l *Link) missed() {
	l.mu.Lock()
	s := &l.silence
	now := time.Now()
	if s.calls++; s.calls == 1 {
		s.since, s.pause = now, silenceTime
	}
	again := s.calls >= silenceCalls && now.Sub(s.since) >= s.pause
	if again {
		s.since, s.pause = now, min(2*s.pause, silenceMost)
	}
	l.mu.Unlock()
	if again {
		l.cfg.Logger.Warn("edgecore does not answer: the mapper connects to the MQTT broker again")
		l.cfg.Bus.Reconnect()
	}
}
