package quicconn

import "time"

// Calm makes a Listener never find the CPU short, so that a test does not depend on the
// machine's load.
func (l *Listener) Calm() {
	l.initials.mu.Lock()
	defer l.initials.mu.Unlock()
	l.initials.short = func(time.Time) bool { return false }
}
