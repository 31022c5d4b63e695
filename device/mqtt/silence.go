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

// silence is how long there was no answer to calls, or to claims.
type silence struct {
	calls int           // without an answer, in a row
	since time.Time     // when the first of them ended, or the Bus was connected again
	pause time.Duration // before the next connection; 0 means silenceTime
}

// miss notes a call without an answer, and reports whether the Bus must connect again. The
// connection may be there and the subscriptions lost; without an answer that is less and less often.
func (s *silence) miss(now time.Time) (again bool) {
	if s.calls++; s.calls == 1 {
		s.since, s.pause = now, silenceTime
	}
	if s.calls < silenceCalls || now.Sub(s.since) < s.pause {
		return false
	}
	s.since, s.pause = now, min(2*s.pause, silenceMost)
	return true
}

// heard notes an answer to a call.
func (l *Link) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silence = silence{}
}

// missed notes a call without an answer.
func (l *Link) missed() {
	l.mu.Lock()
	again := l.silence.miss(time.Now())
	l.mu.Unlock()
	if again {
		l.connectAgain()
	}
}

// connectAgain has the Bus connect and subscribe again.
func (l *Link) connectAgain() {
	l.cfg.Logger.Warn("edgecore does not answer: the mapper connects to the MQTT broker again")
	l.cfg.Bus.Reconnect()
}
