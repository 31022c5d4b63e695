package hub

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPulse has beats come at their times, whatever was set, moved and stopped
// before.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		var mu sync.Mutex // of got
		var got []time.Duration
		begun := time.Now()
		beats := make([]beat, 6)
		for i := range beats {
			beats[i].tick = func() {
				mu.Lock()
				defer mu.Unlock()
				if got = append(got, time.Since(begun)); i == 0 && len(got) < 4 {
					p.set(&beats[0], time.Second)
				}
			}
			p.set(&beats[i], time.Duration(10-i)*time.Second)
		}
		p.stop(&beats[1])
		p.stop(&beats[1])
		p.set(&beats[0], time.Second)    // earlier than all
		p.set(&beats[5], 20*time.Second) // later
		p.stop(&beats[2])
		p.set(&beats[2], 8*time.Second) // the same again
		time.Sleep(time.Minute)
		synctest.Wait()
		var want []time.Duration
		for _, s := range []int{1, 2, 3, 4, 6, 7, 8, 20} {
			want = append(want, time.Duration(s)*time.Second)
		}
		if !slices.Equal(got, want) || len(p.beats) > 0 {
			t.Errorf("beats at %v, want %v; %d are left", got, want, len(p.beats))
		}
		p.set(&beats[0], time.Second)
		if !p.pending(&beats[0]) {
			t.Error("a beat that was set is not pending")
		}
		p.stop(&beats[0])
	})
}
