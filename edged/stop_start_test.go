package edged_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStopDuringStart: an agent that is stopped while a container is being started, as for an
// upgrade, lets the start finish. The next one adopts the container: it was started once.
func TestStopDuringStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		starts := 0
		begun := make(chan struct{}, 10)
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "StartContainer") {
				starts++
				begun <- struct{}{}
				pass(3 * time.Second)
			}
			return nil
		})
		b.start()
		p := newPod("web", busybox("serve"))
		b.put(p)
		<-begun
		b.stop()
		b.start()
		settle(30 * time.Second)
		if got := b.container(p.UID); starts != 1 || got.State.Running == nil || got.RestartCount != 0 {
			t.Errorf("%d starts, %d restarts, %+v", starts, got.RestartCount, got.State)
		}
		b.stop()
	})
}
