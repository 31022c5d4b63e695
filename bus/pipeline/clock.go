package pipeline

import "time"

// Clock is time for sources, steps and sinks.
type Clock interface {
	Now() time.Time
	// NewTimer sends once after d.
	NewTimer(d time.Duration) Timer
}

// Timer is a time.Timer of a Clock.
type Timer interface {
	C() <-chan time.Time
	// Stop ends the timer. Nothing is sent after it.
	Stop() bool
	// Reset starts it anew.
	Reset(d time.Duration) bool
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now returns the time.
func (SystemClock) Now() time.Time { return time.Now() }

// NewTimer returns a time.Timer.
func (SystemClock) NewTimer(d time.Duration) Timer { return systemTimer{time.NewTimer(d)} }

type systemTimer struct{ *time.Timer }

func (t systemTimer) C() <-chan time.Time { return t.Timer.C }
