package device_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
)

// stateLink counts the reports of states.
type stateLink struct {
	*devicetest.Link
	states atomic.Int64
}

func (l *stateLink) State(ctx context.Context, id, state string) error {
	l.states.Add(1)
	return l.Link.State(ctx, id, state)
}

// TestHeartbeat has a device that is read once an hour: it is reported in between, whose
// silence would otherwise look like a dead mapper's. When Run ends it is offline.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := instance("a/b", nil)
		for i := range slow.Spec.Properties {
			slow.Spec.Properties[i].CollectCycle = time.Hour.Milliseconds()
		}
		link := &stateLink{Link: devicetest.NewLink(slow)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- device.Run(ctx, device.Config{Protocol: "test", New: func() device.Driver { return simulated() }, Link: link})
		}()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		want := int64(10*time.Minute/device.Heartbeat) + 1
		if got := link.states.Load(); got < want-1 || got > want+1 {
			t.Errorf("the state was reported %d times in ten minutes, want about %d", got, want)
		}
		// A link that is down is not asked more often.
		link.Fail(errors.New("down"))
		before := link.states.Load()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := link.states.Load() - before; got > 20 {
			t.Errorf("the state was reported %d times to a link that is down", got)
		}
		link.Fail(nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if link.StateOf("a/b") != device.Online {
			t.Errorf("state is %q", link.StateOf("a/b"))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if link.StateOf("a/b") != device.Offline {
			t.Errorf("state after the end is %q", link.StateOf("a/b"))
		}
	})
}
