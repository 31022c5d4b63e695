package rules

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

// TestConditionsDoNotWait: the condition of a new rule does not wait for the time of counts, though
// some wait.
func TestConditionsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStatuses(&Controller{cfg: Config{StatusEvery: time.Hour}})
		begun := time.Now()
		var work sync.WaitGroup
		defer work.Wait()
		work.Go(func() {
			time.Sleep(time.Minute)
			s.mu.Lock()
			s.judge[cache.Name{Name: "r"}] = struct{}{}
			s.mu.Unlock()
			s.notify()
		})
		if !s.wait(t.Context(), begun, 0) {
			t.Error("the context has ended")
		}
		if took := time.Since(begun); took > 2*time.Minute {
			t.Errorf("the new rule waits %v", took)
		}
	})
}
