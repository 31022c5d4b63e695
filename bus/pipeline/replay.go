package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// ErrNotRunning says that a pipeline is not running, or was stopped before it had handled what
// was given to it.
var ErrNotRunning = errors.New("pipeline: the pipeline is not running, or has just changed: try again when it runs")

// PushTo gives events to a source or step as if they came in there, and waits until what comes of
// them is durable: it is for dead letters, once what was wrong is mended. Those that fail again are
// dead letters again. After ErrNotRunning, and when ctx ends, they may have been handled or not.
// A window that is over drops its events. A pipeline or step that does not exist is ErrNotFound, and so
// is a sink, whose dead letters go into its queue.
func (r *Runner) PushTo(ctx context.Context, ref Ref, step string, events []Event) error {
	r.mu.Lock()
	s := r.supers[ref]
	r.mu.Unlock()
	if s == nil {
		return ErrNotFound
	}
	s.mu.Lock()
	in := s.running
	s.mu.Unlock()
	if in == nil {
		return ErrNotRunning
	}
	i, ok := in.plan.byName[step]
	if !ok || in.plan.nodes[i].role == roleSink {
		return fmt.Errorf("%w: %s has no source and no step %q", ErrNotFound, ref, step)
	}
	safe := make(chan struct{})
	select {
	case in.inputs <- input{i, events, func() { close(safe) }, true}:
	case <-in.ended:
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-safe:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-in.ended:
	}
	select {
	case <-safe: // by the last commit
		return nil
	default:
		return ErrNotRunning
	}
}

// offer shows to PushTo which instance takes events; nil for none.
func (in *instance) offer(running *instance) {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	in.s.running = running
}

// pushAgain gives a source or step an event that it had before.
func (m *Machine) pushAgain(now time.Time, i int, e *Event) {
	m.Advance(now)
	n := m.nodes[i]
	if n.role == roleSource {
		m.guard(n, e)
		return
	}
	defer func() {
		if v := recover(); v != nil {
			n.stats.Dead++
			m.dead(n.name, &letter{v1alpha1.ReasonPanic, fmt.Errorf("%v\n%s", v, debug.Stack())}, e)
		}
	}()
	m.pushed++
	m.sample = false
	m.in(n, e)
}
