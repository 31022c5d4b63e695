// Package lifecycletest holds a method Run to the one lifecycle of edged:
//
//	lifecycletest.RunOnce(t, registry.Run)
package lifecycletest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// RunOnce calls run twice at the same time: one call must return lifecycle.ErrStarted, the
// other nil when its context ends. A later call must return ErrStarted too.
func RunOnce(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ended := make(chan error, 2)
	for range 2 {
		wg.Go(func() { ended <- run(ctx) })
	}
	if err := <-ended; !errors.Is(err, lifecycle.ErrStarted) {
		t.Errorf("the second Run returns %v, want ErrStarted", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the first Run returns %v when its context ends, want nil", err)
	}
	if err := run(t.Context()); !errors.Is(err, lifecycle.ErrStarted) {
		t.Errorf("a Run after the end returns %v, want ErrStarted", err)
	}
}
