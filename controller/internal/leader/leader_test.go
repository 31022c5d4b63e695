package leader_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/leader"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOneLeads: of two one leads at a time; when the first ends, the other goes on at once.
func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := controllertest.NewClientset().CoordinationV1().Leases("edgekit-system")
		var leading, most, turns atomic.Int64
		run := func(ctx context.Context, id string) {
			leader.New(leader.Config{Leases: leases, Lease: "edgekit-test", ID: id, Work: "a test"}).Campaign(ctx, func(ctx context.Context) {
				turns.Add(1)
				most.Store(max(most.Load(), leading.Add(1)))
				<-ctx.Done()
				leading.Add(-1)
			})
		}
		first, stop := context.WithCancel(t.Context())
		go run(first, "a")
		synctest.Wait()
		second, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); run(second, "b") }()
		time.Sleep(time.Minute)
		if leading.Load() != 1 || turns.Load() != 1 {
			t.Errorf("%d lead, %d turns", leading.Load(), turns.Load())
		}
		stop()
		time.Sleep(5 * time.Second)
		if leading.Load() != 1 || turns.Load() != 2 || most.Load() != 1 {
			t.Errorf("after the first ended %d lead, %d turns, %d at a time", leading.Load(), turns.Load(), most.Load())
		}
		end()
		<-done
	})
}
