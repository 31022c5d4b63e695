package loglimit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/twin/internal/loglimit"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l loglimit.Limiter
		logged, skipped := 0, 0
		for range 3600 { // an hour, a fault each second
			if n, ok := l.Allow(); ok {
				logged, skipped = logged+1, skipped+n
			}
			time.Sleep(time.Second)
		}
		if logged != 60 || skipped != 5*590 {
			t.Errorf("%d lines that count %d others, want 60 and %d", logged, skipped, 5*590)
		}
	})
}
