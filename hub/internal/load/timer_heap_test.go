package load

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTimerHeap checks that timers fire at their times, whatever was set, moved and
// stopped before.
func TestTimerHeap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p TimerHeap
		var mu sync.Mutex // of got
		var got []time.Duration
		begun := time.Now()
		beats := make([]Timer, 6)
		for i := range beats {
			beats[i].Func = func() {
				mu.Lock()
				defer mu.Unlock()
				if got = append(got, time.Since(begun)); i == 0 && len(got) < 4 {
					p.Set(&beats[0], time.Second)
				}
			}
			p.Set(&beats[i], time.Duration(10-i)*time.Second)
		}
		p.Stop(&beats[1])
		p.Stop(&beats[1])
		p.Set(&beats[0], time.Second)    // earlier than all
		p.Set(&beats[5], 20*time.Second) // later
		p.Stop(&beats[2])
		p.Set(&beats[2], 8*time.Second) // the same again
		time.Sleep(time.Minute)
		synctest.Wait()
		var want []time.Duration
		for _, s := range []int{1, 2, 3, 4, 6, 7, 8, 20} {
			want = append(want, time.Duration(s)*time.Second)
		}
		if !slices.Equal(got, want) || len(p.timers) > 0 {
			t.Errorf("beats at %v, want %v; %d are left", got, want, len(p.timers))
		}
		p.Set(&beats[0], time.Second)
		if !p.Pending(&beats[0]) {
			t.Error("a beat that was set is not pending")
		}
		p.Stop(&beats[0])
	})
}
