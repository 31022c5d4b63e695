package runguard

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Tasks are goroutines that the methods of a value start while its Run runs, and that
// Run joins. The mutex of that value guards every call. The zero value starts nothing.
type Tasks struct{ start func(func(context.Context)) }

// Open lets Start work until ctx ends. Run waits for g. The caller holds mu, which
// Open takes again when ctx ends: no goroutine is added to g while it is being joined.
func (t *Tasks) Open(ctx context.Context, g *errgroup.Group, mu sync.Locker) {
	t.start = func(f func(context.Context)) { g.Go(func() error { f(ctx); return nil }) }
	g.Go(func() error {
		<-ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		t.start = nil
		return nil
	})
}

// Start runs f in a goroutine if Run runs now, and does nothing otherwise. f returns
// soon after its context has ended.
func (t *Tasks) Start(f func(context.Context)) {
	if t.start != nil {
		t.start(f)
	}
}
