package runguard

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/errgroup"
)

// TestTasks starts tasks before, during and after a Run.
func TestTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var tasks Tasks
		var started, ended int
		start := func() {
			mu.Lock()
			defer mu.Unlock()
			tasks.Start(func(ctx context.Context) {
				started++
				<-ctx.Done()
				ended++
			})
		}
		start()
		ctx, cancel := context.WithCancel(t.Context())
		g, ctx := errgroup.WithContext(ctx)
		mu.Lock()
		tasks.Open(ctx, g, &mu)
		mu.Unlock()
		start()
		synctest.Wait()
		cancel()
		if err := g.Wait(); err != nil || started != 1 || ended != 1 {
			t.Errorf("%d tasks were started and %d joined, want one: %v", started, ended, err)
		}
		start()
		synctest.Wait()
		if started != 1 {
			t.Error("a task was started after Run had ended")
		}
	})
}
