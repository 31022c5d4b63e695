package leader_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/controller/internal/leader"
)

// TestWaitDue: what is in wake has the time asked for again, and the end of ctx ends the wait.
func TestWaitDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		wake := make(chan struct{}, 1)
		time.AfterFunc(time.Minute, func() { wake <- struct{}{} })
		due := func() time.Time {
			if time.Since(began) < time.Minute {
				return began.Add(time.Hour)
			}
			return began.Add(2 * time.Minute)
		}
		if !leader.WaitDue(t.Context(), wake, due) || time.Since(began) != 2*time.Minute {
			t.Errorf("it waited %v", time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if leader.WaitDue(ctx, wake, func() time.Time { return time.Now().Add(time.Hour) }) {
			t.Error("an ended context lives")
		}
	})
}
