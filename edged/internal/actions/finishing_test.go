package actions

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestFinishing: the context ends a time after the one that it is made from, or when done is
// called, and leaves nothing behind.
func TestFinishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		late, done := finishing(ctx, 10*time.Second)
		cancel()
		time.Sleep(9 * time.Second)
		if late.Err() != nil {
			t.Error("it ended too early")
		}
		time.Sleep(2 * time.Second)
		if late.Err() == nil {
			t.Error("it does not end")
		}
		done()
		_, done = finishing(t.Context(), 10*time.Second)
		done()
		_, done = finishing(ctx, 10*time.Second) // it has ended before
		done()
	})
}
