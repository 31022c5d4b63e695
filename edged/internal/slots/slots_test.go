package slots

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlots takes more slots than there are: the next waits until a call ends, until one
// has had its slot for a second, or for five seconds at most.
func TestSlots(t *testing.T) {
	fill := func(s Slots) (releases []func()) {
		for range cap(s) {
			releases = append(releases, s.Acquire(t.Context()))
		}
		return releases
	}
	waits := func(ctx context.Context, s Slots) time.Duration {
		began := time.Now()
		s.Acquire(ctx)()
		return time.Since(began)
	}
	synctest.Test(t, func(t *testing.T) {
		s := New()
		if cap(s) < 2 {
			t.Fatalf("%d slots", cap(s))
		}
		releases := fill(s)
		time.AfterFunc(300*time.Millisecond, releases[0])
		if got := waits(t.Context(), s); got != 300*time.Millisecond {
			t.Errorf("waited %s for a call that ended after 0.3 s", got)
		}
		for _, release := range releases[1:] {
			release()
			release() // no more than once
		}
		fill(s)
		if got := waits(t.Context(), s); got != held {
			t.Errorf("waited %s for calls that hang", got)
		}
		full := make(Slots, 1)
		full <- struct{}{} // never given back
		if got := waits(t.Context(), full); got != longestWait {
			t.Errorf("waited %s for a slot that never comes", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := waits(ctx, full); got != 0 {
			t.Errorf("waited %s after the end of the context", got)
		}
	})
}
