package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Pauses between tries.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = time.Minute
)

// pause returns how long to wait before try number n, from 1: exponential with full jitter
// above the half.
func pause(n int) time.Duration {
	d := firstPause << min(n-1, 20)
	if d > lastPause || d <= 0 {
		d = lastPause
	}
	return d/2 + rand.N(d/2)
}

// supervisor runs one pipeline: it compiles the spec that is wanted and runs an instance of
// it until another is wanted.
type supervisor struct {
	r     *Runner
	ref   Ref
	log   interface{ Error(msg string, args ...any) }
	wakes chan struct{}
	taps  taps

	mu       sync.Mutex
	want     *v1alpha1.Pipeline // nil: end
	done     bool
	current  *v1alpha1.Pipeline // whose instance is at work; nil for none
	running  *instance          // that takes events; nil for none
	state    State
	failures failures
	stats    []StepStats
	sinks    map[string]*delivery // of the instance at work
}

func newSupervisor(r *Runner, ref Ref, p *v1alpha1.Pipeline) *supervisor {
	return &supervisor{r: r, ref: ref, want: p, state: Starting, wakes: make(chan struct{}, 1), log: r.cfg.Logger.With("pipeline", ref.String())}
}

// set sets the spec that is wanted.
func (s *supervisor) set(p *v1alpha1.Pipeline) {
	s.mu.Lock()
	s.want = p
	s.mu.Unlock()
	select {
	case s.wakes <- struct{}{}:
	default:
	}
}

func (s *supervisor) wanted() *v1alpha1.Pipeline {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want
}

func (s *supervisor) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// starting reports whether an instance is at work or about to be.
func (s *supervisor) starting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != Failed && s.want != nil
}

// settled reports whether no instance of another spec than p is at work.
func (s *supervisor) settled(p *v1alpha1.Pipeline) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current == nil && p != nil || s.current != nil && s.current == p || s.current != nil && sameSpec(s.current, p)
}

// setCurrent sets whose instance is at work, and lets the Runner look whether something is to be pruned.
func (s *supervisor) setCurrent(p *v1alpha1.Pipeline) {
	s.mu.Lock()
	s.current = p
	s.mu.Unlock()
	s.r.wake()
}

func (s *supervisor) status(generation int64) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Ref: s.ref, Generation: generation, State: s.state, Failures: s.failures.list()}
	for _, one := range s.stats {
		if d := s.sinks[one.Name]; d != nil {
			one.Queue = d.queue.Stats()
			one.Out, one.Retry, one.Dead = d.sent.Load(), d.retries.Load(), d.dead.Load()
		}
		st.Steps = append(st.Steps, one)
	}
	return st
}

func (s *supervisor) setState(state State) {
	s.mu.Lock()
	changed := s.state != state
	s.state = state
	s.mu.Unlock()
	if changed {
		s.r.notify()
	}
}

// fail records a failure of a step, "" for the pipeline.
func (s *supervisor) fail(step, reason, message string, e *Event) {
	s.mu.Lock()
	first := s.failures.add(v1alpha1.Failure{Node: s.r.cfg.Env.Node, Step: step, Reason: reason, Message: cut(message, 1024), Event: brief(e)}, s.r.cfg.Env.Clock.Now())
	s.mu.Unlock()
	if first {
		s.r.notify()
	}
}

// forget removes all failures.
func (s *supervisor) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = failures{}
}

// heal removes failures of a step for a reason that is over.
func (s *supervisor) heal(step, reason string) {
	s.mu.Lock()
	changed := s.failures.remove(step, reason)
	s.mu.Unlock()
	if changed {
		s.r.notify()
	}
}

// run runs instances until ctx ends or no spec is wanted.
func (s *supervisor) run(ctx context.Context) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done = true
	}()
	tries := 0
	var last *v1alpha1.Pipeline
	for p := s.wanted(); p != nil && ctx.Err() == nil; p = s.wanted() {
		if !sameSpec(p, last) {
			s.forget()
			s.setState(Starting)
		}
		last = p
		began := s.r.cfg.Env.Clock.Now()
		err := s.once(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			tries = 0
			continue
		}
		s.setState(Failed)
		s.log.Error("the pipeline does not run", "err", err)
		if s.r.cfg.Env.Clock.Now().Sub(began) > 2*lastPause {
			tries = 0
		}
		tries++
		s.sleep(ctx, pause(tries))
	}
}

// sleep waits for a time or until another spec is wanted.
func (s *supervisor) sleep(ctx context.Context, d time.Duration) {
	t := s.r.cfg.Env.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.wakes:
	case <-t.C():
	}
}

// once runs a spec until another one is wanted, which is no error. A spec that cannot be
// compiled is waited out.
func (s *supervisor) once(ctx context.Context, p *v1alpha1.Pipeline) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
			s.fail("", v1alpha1.ReasonPanic, fmt.Sprintf("%v\n%s", v, debug.Stack()), nil)
		}
	}()
	plan, err := Compile(p, s.r.cfg.Options)
	if err != nil {
		for _, e := range Errors(err) {
			s.fail(e.Step, v1alpha1.ReasonInvalid, e.Field+": "+e.Message, nil)
		}
		s.setState(Failed)
		return s.until(ctx, p, nil)
	}
	tables := s.tables(ctx, p)
	in, err := newInstance(s, plan, tables)
	if err != nil {
		s.setState(Failed)
		return s.until(ctx, p, tables)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	watch.Go(func() {
		defer cancel()
		_ = s.until(ctx, p, tables) // it returns nil
	})
	defer watch.Wait()
	defer cancel()
	s.setCurrent(p)
	defer s.setCurrent(nil)
	return in.run(ctx)
}

// until waits until another spec, or another content of its tables, is wanted.
func (s *supervisor) until(ctx context.Context, p *v1alpha1.Pipeline, tables map[string][]byte) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wakes:
		}
		want := s.wanted()
		if want == nil || !sameSpec(want, p) || !maps.EqualFunc(tables, s.tables(ctx, want), bytes.Equal) {
			return nil
		}
	}
}

// tables reads the tables that are in ConfigMaps. What cannot be read is missing.
func (s *supervisor) tables(ctx context.Context, p *v1alpha1.Pipeline) map[string][]byte {
	var out map[string][]byte
	for i := range p.Spec.Tables {
		t := &p.Spec.Tables[i]
		if t.ConfigMapRef == nil || s.r.cfg.Env.Table == nil {
			continue
		}
		content, err := s.r.cfg.Env.Table(ctx, s.ref.Namespace, t.ConfigMapRef.Name, t.ConfigMapRef.Key)
		if err != nil {
			continue // rowsOf says that it is missing
		}
		if out == nil {
			out = make(map[string][]byte)
		}
		out[string(t.Name)] = []byte(content)
	}
	return out
}

// sameSpec reports whether two pipelines do the same.
func sameSpec(a, b *v1alpha1.Pipeline) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil || a.UID != b.UID || a.Annotations[v1alpha1.AnnotationInputs] != b.Annotations[v1alpha1.AnnotationInputs] {
		return false
	}
	x, err1 := json.Marshal(a.Spec)
	y, err2 := json.Marshal(b.Spec)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// ErrTaps says that a pipeline has as many taps as it may have.
var ErrTaps = errors.New("pipeline: this pipeline has as many taps as it may have: end one of them")
