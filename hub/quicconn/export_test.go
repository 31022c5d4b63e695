package quicconn

import "time"

// Calm has a Listener never find the CPU short, so that what a test sees does not
// depend on what else the machine does.
func (l *Listener) Calm() {
	l.initials.mu.Lock()
	defer l.initials.mu.Unlock()
	l.initials.short = func(time.Time) bool { return false }
}
