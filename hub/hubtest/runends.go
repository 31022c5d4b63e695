package hubtest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// endings is how many moments of a start RunEnds tries.
const endings = 30

// RunEnds wants a Run to return nil when its context ends, whenever that is: before Run is
// called, and then while it starts. For each try build makes a new value and gives its Run.
// The context ends at the first time that it is looked at, then at the second, and so on, and at the
// latest after the time that a start takes.
//
// A Run that returns the error of its context is a fault: a program that is asked to end while it
// starts then ends with an error.
func RunEnds(t *testing.T, start time.Duration, build func() (run func(context.Context) error, err error)) {
	t.Helper()
	for n := range endings {
		run, err := build()
		if err != nil {
			t.Fatal(err)
		}
		if !runEnds(t, start, run, int64(n)) {
			return
		}
	}
}

// runEnds calls run with a context that ends at its n-th look, and reports whether there was one.
func runEnds(t *testing.T, start time.Duration, run func(context.Context) error, n int64) bool {
	t.Helper()
	parent, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx := &endingContext{Context: parent, cancel: cancel}
	ctx.left.Store(n)
	if n == 0 {
		cancel()
	}
	timer := time.AfterFunc(start, cancel)
	defer timer.Stop()
	if err := run(ctx); err != nil {
		t.Errorf("a Run whose context ends at look %d returns %v, want nil", n, err)
	}
	return ctx.left.Load() <= 0
}

// endingContext is a context that ends when it has been looked at so many times.
type endingContext struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
}

func (c *endingContext) Done() <-chan struct{} {
	c.look()
	return c.Context.Done()
}

func (c *endingContext) Err() error {
	c.look()
	return c.Context.Err()
}

func (c *endingContext) look() {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
}
