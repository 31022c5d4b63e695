package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// Bounds of what is gathered before it is made durable.
const (
	maxPending      = 512     // events of sources
	maxPendingBytes = 1 << 20 // events for sinks and dead letters
	ringSlots       = 64      // commits whose ids are known after a restart
)

// input is what a source has emitted at once, or what PushTo has for a source or step.
type input struct {
	source int // index of the node
	events []Event
	safe   func()
	again  bool // by PushTo: that an event is known is no reason to drop it
}

// instance is one run of one spec of a pipeline. Its loop has the machine; each source and
// each sink has a goroutine of its own.
type instance struct {
	s       *supervisor
	plan    *Plan
	machine *Machine
	log     interface{ Error(msg string, args ...any) }
	clock   Clock
	inputs  chan input
	ended   chan struct{} // closed when nothing reads inputs any more
	sources []*sourceAt
	sinks   []*delivery
	byName  map[string]*delivery

	ids     map[uint64]struct{} // of the events before the restart
	ring    [ringSlots][]uint64 // of the events of the last commits, each sorted
	seq     uint64
	pending pending
	rest    *input    // of what push could not finish, since the pipeline ends; drain goes on with it
	ops     []meta.Op // of the state, taken from the machine and not applied yet
}

type sourceAt struct {
	node   int
	name   string
	source Source
	failed atomic.Bool // it ended, and has not emitted since
}

// pending is what was not made durable yet.
type pending struct {
	events  int
	bytes   int
	since   time.Time // when the first came
	ids     []uint64
	safe    []func()
	letters []DeadLetter
	any     bool // something changed: ids, letters, a window
}

// newInstance opens sources and sinks, which do no I/O. It records what fails.
func newInstance(s *supervisor, plan *Plan, tables map[string][]byte) (*instance, error) {
	cfg := &s.r.cfg
	in := &instance{s: s, plan: plan, log: s.log, clock: cfg.Env.Clock, inputs: make(chan input, 4), ended: make(chan struct{}), byName: make(map[string]*delivery)}
	env := cfg.Env
	env.Ref, env.State = s.ref, s.r.places.of(s.ref)
	env.Logger = env.Logger.With("pipeline", s.ref.String())
	if env.Scope != nil {
		env.Scope(&env)
	}
	var err error
	in.machine, err = NewMachine(plan, MachineConfig{
		Node: env.Node, Twins: env.Twins, Tables: tables, Sink: in.toSink, Dead: in.toDead,
		Trace:  func(step string, e Event) { s.taps.offer(in.machine.now, step, e) },
		traced: &s.taps.count, stored: true,
	})
	if err != nil {
		s.fail("", v1alpha1.ReasonInvalid, err.Error(), nil)
		return nil, err
	}
	var errs []error
	for i, n := range plan.nodes {
		switch n.role {
		case roleSource:
			src, err := cfg.Openers.Source(&plan.spec.Spec.Sources[n.index], env)
			if err != nil {
				s.fail(n.name, v1alpha1.ReasonSourceFailed, err.Error(), nil)
				errs = append(errs, err)
			}
			in.sources = append(in.sources, &sourceAt{node: i, name: n.name, source: src})
		case roleSink:
			spec := &plan.spec.Spec.Sinks[n.index]
			env.Upstream = plan.upstream(n)
			sink, err := cfg.Openers.Sink(spec, env)
			if err != nil {
				s.fail(n.name, v1alpha1.ReasonSinkFailed, err.Error(), nil)
				errs = append(errs, err)
				continue
			}
			d := &delivery{in: in, name: n.name, spec: spec, sink: sink}
			in.sinks = append(in.sinks, d)
			in.byName[n.name] = d
		}
	}
	if err := errors.Join(errs...); err != nil {
		in.closeSinks()
		return nil, err
	}
	return in, nil
}

func (in *instance) closeSinks() {
	for _, d := range in.sinks {
		if err := d.sink.Close(); err != nil {
			in.log.Error("a sink was not closed", "sink", d.name, "err", err)
		}
		if d.queue != nil {
			d.queue.Close()
		}
	}
}

// run runs the pipeline until ctx ends. An error is about the store or a queue.
func (in *instance) run(ctx context.Context) error {
	release, sink, err := in.s.r.claim(in.plan.spec)
	if err != nil {
		in.closeSinks()
		in.s.fail(sink, v1alpha1.ReasonSinkFailed, err.Error(), nil)
		return fmt.Errorf("sink %s: %w", sink, err)
	}
	defer release()
	defer in.closeSinks() // before another pipeline may have its files
	in.machine.setTime(in.clock.Now())
	var r restored
	err = in.s.r.removeFormer(ctx, in.plan)
	if err == nil {
		r, err = in.s.r.store.restore(ctx, in.machine)
	}
	if err != nil {
		in.s.fail("", v1alpha1.ReasonStoreFailed, err.Error(), nil)
		return err
	}
	if r.damaged > 0 {
		in.log.Error("damaged state of steps was removed", "keys", r.damaged)
	}
	in.ids, in.seq = r.ids, r.seq
	for _, d := range in.sinks {
		if d.queue, err = in.s.r.cfg.Queues.Open(ctx, in.s.ref, d.spec); err != nil {
			in.s.fail(d.name, v1alpha1.ReasonStoreFailed, err.Error(), nil)
			return fmt.Errorf("queue of %s: %w", d.name, err)
		}
	}
	in.publish()
	in.s.taps.allow(in.plan)
	in.s.forget()
	in.s.setState(Running)
	return in.work(ctx)
}

// work runs sources, loop and sinks.
func (in *instance) work(ctx context.Context) (err error) {
	var sources, sinks sync.WaitGroup
	sourceCtx, stopSources := context.WithCancel(ctx)
	defer stopSources()
	sinkCtx, stopSinks := context.WithCancel(ctx)
	defer stopSinks()
	for _, at := range in.sources {
		sources.Go(func() { in.runSource(sourceCtx, at) })
	}
	for _, d := range in.sinks {
		sinks.Go(func() { d.run(sinkCtx) })
	}
	in.offer(in)
	defer close(in.ended)
	defer in.offer(nil)
	ended := make(chan struct{})
	var closer sync.WaitGroup
	closer.Go(func() {
		sources.Wait()
		close(ended)
	})
	err = in.loop(ctx)
	stopSources()
	in.drain(ctx, ended)
	closer.Wait()
	stopSinks()
	sinks.Wait()
	in.publish()
	return err
}

// publish shows the counts and sinks to Status.
func (in *instance) publish() {
	stats := in.machine.Stats()
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	in.s.stats = stats
	in.s.sinks = in.byName
}

// runSource runs a source, and anew with a pause when it ends.
func (in *instance) runSource(ctx context.Context, at *sourceAt) {
	emit := func(ctx context.Context, events []Event, safe func()) error {
		select {
		case in.inputs <- input{at.node, events, safe, false}:
			if at.failed.CompareAndSwap(true, false) {
				in.s.heal(at.name, v1alpha1.ReasonSourceFailed)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for tries := 1; ; tries++ {
		began := in.clock.Now()
		err := runSafely(ctx, at.source, emit)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the source has ended")
		}
		at.failed.Store(true)
		in.s.fail(at.name, v1alpha1.ReasonSourceFailed, err.Error(), nil)
		if in.clock.Now().Sub(began) > 2*lastPause {
			tries = 1
		}
		t := in.clock.NewTimer(pause(tries))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C():
		}
	}
}

func runSafely(ctx context.Context, s Source, emit Emit) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return s.Run(ctx, emit)
}

// loop feeds the machine and makes durable what comes of it, until ctx ends.
func (in *instance) loop(ctx context.Context) error {
	timer := in.clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		in.arm(timer)
		select {
		case <-ctx.Done():
			return nil
		case i := <-in.inputs:
			if err := in.push(ctx, i); err != nil || in.rest != nil {
				return err
			}
		case <-timer.C():
			in.advance()
		}
		if !in.due() {
			continue
		}
		if err := in.commit(ctx); err != nil {
			return err
		}
	}
}

// arm sets the timer to when a window ends or pending events are due.
func (in *instance) arm(timer Timer) {
	d := time.Hour
	now := in.clock.Now()
	if at, ok := in.machine.Next(); ok {
		d = min(d, at.Sub(now))
	}
	if in.pending.any {
		d = min(d, in.pending.since.Add(in.s.r.cfg.Commit).Sub(now))
	}
	if !timer.Stop() {
		select {
		case <-timer.C():
		default:
		}
	}
	timer.Reset(max(d, 0))
}

// due reports whether pending events must be made durable now.
func (in *instance) due() bool {
	p := &in.pending
	return p.any && (in.full() || in.clock.Now().Sub(p.since) >= in.s.r.cfg.Commit)
}

// note begins the time of pending events.
func (in *instance) note() {
	if p := &in.pending; !p.any {
		p.any, p.since = true, in.clock.Now()
	}
}

func (in *instance) advance() {
	if at, ok := in.machine.Next(); ok && !at.After(in.clock.Now()) {
		in.note() // the state of a window changes at least
		in.machine.Advance(in.clock.Now())
	}
}

// full reports whether no more events must be gathered.
func (in *instance) full() bool {
	return in.pending.events >= maxPending || in.pending.bytes >= maxPendingBytes
}

// push gives the events of a source to the machine, without those that are known. It makes
// a part of them durable if they are many. If ctx ends meanwhile, in.rest has those that are left.
func (in *instance) push(ctx context.Context, i input) error {
	now := in.clock.Now()
	name := in.plan.nodes[i.source].name
	for j := range i.events {
		if in.full() {
			if err := in.commit(ctx); err != nil || ctx.Err() != nil {
				in.rest = &input{i.source, i.events[j:], i.safe, i.again}
				return err
			}
		}
		in.note()
		in.pending.events++
		e := &i.events[j]
		if i.again {
			in.machine.pushAgain(now, i.source, e)
			continue
		}
		id := hashID(name, e.ID)
		if in.known(id, e) {
			continue
		}
		if e.ID != "" {
			in.pending.ids = append(in.pending.ids, id)
		}
		in.machine.Push(now, name, i.events[j:j+1]...)
	}
	in.note()
	if i.safe != nil {
		in.pending.safe = append(in.pending.safe, i.safe)
	}
	return nil
}

// toSink is called by the machine.
func (in *instance) toSink(sink string, e Event) {
	d := in.byName[sink]
	d.pending = append(d.pending, e)
	in.pending.bytes += e.Size()
	in.s.taps.offer(in.machine.now, sink, e)
}

// toDead is called by the machine.
func (in *instance) toDead(l DeadLetter) {
	in.pending.letters = append(in.pending.letters, l)
	in.pending.bytes += min(l.Event.Size(), MaxEvent)
	in.s.fail(l.Step, l.Reason, l.Message, &l.Event)
}
