package device

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// errStuck says that a method of a driver did not return after its deadline.
var errStuck = errors.New("the driver does not return from a call whose deadline has passed")

// panicError says that a method of a driver panicked.
type panicError struct {
	value any
	stack []byte // for the log
}

func (e *panicError) Error() string { return fmt.Sprintf("the driver panicked: %v", e.value) }

// guard calls the methods of one device's drivers, one at a time and each in a goroutine of its
// own, so that a method that does not return, or panics, concerns that device only. One
// goroutine uses a guard.
type guard struct {
	timeout time.Duration
	conn    *connection // nil if the device shares none
	counts  *counters
	late    *sync.WaitGroup // what waits for calls that are stuck
	running chan struct{}   // closed when the call that was stuck has returned; nil if there was none
}

// stuck reports whether a call is stuck now.
func (g *guard) stuck() bool {
	if g.running == nil {
		return false
	}
	select {
	case <-g.running:
		g.running = nil
		return false
	default:
		return true
	}
}

// The calls that are not about the connection: it does not hold back a Close.
const (
	newCall   = "New"
	closeCall = "Close"
)

// answer is what a method returned.
type answer[T any] struct {
	value T
	err   error
}

// guarded calls f. It waits for the connection that the device shares, then as long as
// g.timeout, and as long again for f to return after its deadline.
func guarded[T any](ctx context.Context, g *guard, name string, f func(context.Context) (T, error)) (T, error) {
	var none T
	if g.stuck() {
		return none, fmt.Errorf("%s: %w", name, errStuck)
	}
	if err := g.conn.acquire(ctx); err != nil {
		return none, err
	}
	if err := g.conn.left(); err != nil && name != closeCall {
		g.conn.release()
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	answers := make(chan answer[T], 1)
	go func() {
		a := answer[T]{err: errors.New("the driver has ended its goroutine")} // by runtime.Goexit
		defer func() {
			if p := recover(); p != nil {
				a.err = &panicError{p, debug.Stack()}
			}
			answers <- a
		}()
		a.value, a.err = f(ctx)
	}()
	select {
	case a := <-answers:
		return returned(g, name, a)
	case <-ctx.Done():
	}
	late := time.NewTimer(g.timeout)
	defer late.Stop()
	select {
	case a := <-answers:
		return returned(g, name, a)
	case <-late.C:
	}
	running := make(chan struct{})
	g.running = running
	g.conn.note(errStuck)
	g.conn.hold()
	g.counts.stuck.Add(1)
	g.late.Go(func() {
		<-answers
		g.counts.stuck.Add(-1)
		g.conn.release()
		close(running)
	})
	return none, fmt.Errorf("%s: %w", name, errStuck)
}

// returned takes what a method returned in time.
func returned[T any](g *guard, name string, a answer[T]) (T, error) {
	if name != closeCall && name != newCall { // these say nothing about the connection
		g.conn.note(a.err)
	}
	g.conn.release()
	if p := new(panicError); errors.As(a.err, &p) {
		g.counts.panics.Add(1)
	}
	if a.err != nil {
		return a.value, fmt.Errorf("%s: %w", name, a.err)
	}
	return a.value, nil
}
