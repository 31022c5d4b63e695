// Package loglimit keeps a fault that lasts from filling the log: a Limiter
// allows so many lines in so long a time, and counts the rest.
package loglimit

import (
	"sync"
	"time"
)

const (
	lines = 10
	span  = 10 * time.Minute
)

// Limiter allows ten lines in ten minutes. The zero value is ready. Its methods
// may be called by several goroutines at once.
type Limiter struct {
	mu      sync.Mutex
	since   time.Time // begin of the span
	used    int       // lines in it
	skipped int       // since the last line that was allowed
}

// Allow reports whether to log a line now, and how many were not logged since
// the last one that was.
func (l *Limiter) Allow() (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) >= span {
		l.since, l.used = now, 0
	}
	if l.used >= lines {
		l.skipped++
		return 0, false
	}
	l.used++
	skipped, l.skipped = l.skipped, 0
	return skipped, true
}
