package load_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/internal/load"
)

// TestCPU: the CPU is short while more goroutines work than there are processors, and not
// when none does.
func TestCPU(t *testing.T) {
	var cpu load.CPU
	awaitLoad := func(want bool) {
		t.Helper()
		hubtest.Until(t, fmt.Sprint("the CPU is short: ", want), func() bool { return cpu.Short(time.Now()) == want })
	}
	var working sync.WaitGroup
	var stop atomic.Bool
	for range 50 * runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for !stop.Load() {
				for begun := time.Now(); time.Since(begun) < time.Millisecond; {
				}
				runtime.Gosched()
			}
		})
	}
	awaitLoad(true)
	stop.Store(true)
	working.Wait()
	awaitLoad(false)
}
