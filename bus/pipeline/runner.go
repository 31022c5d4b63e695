package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// Config sets up a Runner. Openers, Options.Expressions, Queues and Store are required.
type Config struct {
	Options // for Compile
	Openers Openers
	Env     Env
	Queues  Queues
	// Store keeps the state of steps, below meta.Local. With Queues on the
	// same store an event's way into state and queues is one batch.
	Store meta.Store
	// MaxPipelines is how many pipelines run at once; 0 means 64. One more is not run, and its
	// status says so.
	MaxPipelines int
	// Commit is how long events are gathered before they are made durable in one batch: the
	// delay of an event when there are few, and what a disk is spared. 0 means 50 ms.
	Commit time.Duration
	Logger *slog.Logger // nil discards
}

func (cfg Config) withDefaults() Config {
	if cfg.MaxPipelines == 0 {
		cfg.MaxPipelines = 64
	}
	if cfg.Commit == 0 {
		cfg.Commit = 50 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Env.Clock == nil {
		cfg.Env.Clock = SystemClock{}
	}
	if cfg.Env.Logger == nil {
		cfg.Env.Logger = cfg.Logger
	}
	cfg.Env.Expressions = cfg.Expressions
	return cfg
}

// Status says how one pipeline does.
type Status struct {
	Ref        Ref
	Generation int64
	State      State
	Failures   []v1alpha1.Failure // the newest first, at most v1alpha1.MaxFailures
	Steps      []StepStats        // sources, steps and sinks in the order of the spec
}

// State is the state of a pipeline.
type State string

// The states of a pipeline.
const (
	Starting State = "Starting"
	Running  State = "Running"
	Failed   State = "Failed" // it cannot be compiled or opened, or has failed; Failures say why
)

// Part says which part of a pipeline something is.
type Part string

// The parts of a pipeline.
const (
	PartSource Part = "source"
	PartStep   Part = "step"
	PartSink   Part = "sink"
)

// StepStats are the counts of one source, step or sink since the program began.
type StepStats struct {
	Name  string
	Kind  string        // as in the spec: mqtt, filter, window, cloud and so on
	Part  Part          // of the pipeline
	In    int64         // events that came in
	Out   int64         // events that went out; for a sink, that it has sent
	Drop  int64         // events that the step dropped as it shall: filtered, known, over the rate
	Late  int64         // events that came after their window was closed
	Dead  int64         // events that became dead letters
	Retry int64         // failed tries of a sink, restarts of a source
	Busy  time.Duration // spent in the step; sampled
	Keys  int           // that the step's state holds
	Queue QueueStats    // of a sink
}

// TapRequest says which events a Tap shows.
type TapRequest struct {
	Ref    Ref
	Step   string // the name of a source, step or sink: what goes out of it, for a sink what goes in
	Events int    // ends after so many; 0 means no end
	PerSec int    // at most so many a second, the rest is skipped; 0 means 100
	Bytes  int    // an event's data is cut to so many; 0 means 4096
}

// TapEvent is one event that a Tap shows.
type TapEvent struct {
	Event   Event
	Skipped int64 // events that were not shown before it, for the rate or because the reader is slow
}

// Tapper shows live events. *Runner is one.
type Tapper interface {
	// Tap calls show with events until ctx ends, then returns nil, or until show returns an
	// error or req.Events were shown.
	Tap(ctx context.Context, req TapRequest, show func(TapEvent) error) error
}

// ErrNotFound says that there is no such pipeline or step.
var ErrNotFound = errors.New("pipeline: no such pipeline or step")

// Runner runs pipelines. Make one with New. All methods may be called by several goroutines
// at once.
type Runner struct {
	cfg    Config
	store  *stateStore
	places places
	wakes  chan struct{} // Apply was called, or a supervisor has ended
	work   sync.WaitGroup

	mu      sync.Mutex
	started bool
	applied bool                       // Apply was called
	anew    bool                       // likewise, since the last look
	want    map[Ref]*v1alpha1.Pipeline // of the last Apply, without those that are too many
	refused map[Ref]*v1alpha1.Pipeline // those that are too many
	supers  map[Ref]*supervisor
	claims  map[string]Ref // whose sink writes to a file, by its path
	prune   bool           // queues of pipelines or sinks that are gone may be there
	changed chan struct{}
}

// New checks cfg and allocates a Runner.
func New(cfg Config) (*Runner, error) {
	switch {
	case cfg.Openers.Source == nil || cfg.Openers.Sink == nil:
		return nil, errors.New("pipeline: Config.Openers needs Source and Sink")
	case cfg.Expressions == nil:
		return nil, errors.New("pipeline: Config.Expressions is required")
	case cfg.Queues == nil:
		return nil, errors.New("pipeline: Config.Queues is required")
	case cfg.Store == nil:
		return nil, errors.New("pipeline: Config.Store is required")
	case cfg.MaxPipelines < 0 || cfg.Commit < 0:
		return nil, fmt.Errorf("pipeline: Config.MaxPipelines is %d and Commit %v: they must not be negative", cfg.MaxPipelines, cfg.Commit)
	}
	return &Runner{
		cfg: cfg.withDefaults(), store: &stateStore{cfg.Store}, places: places{cfg.Env.State}, wakes: make(chan struct{}, 1),
		supers: make(map[Ref]*supervisor), claims: make(map[string]Ref), changed: make(chan struct{}),
	}, nil
}

// Run runs the pipelines of Apply until ctx ends, then returns nil. A second call returns
// bus.ErrStarted. It waits for its sources and sinks: one that does not return when its
// context ends holds it up.
func (r *Runner) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.started {
		r.mu.Unlock()
		return bus.ErrStarted
	}
	r.started = true
	r.mu.Unlock()
	defer r.work.Wait()
	for {
		again := r.cfg.Env.Clock.NewTimer(time.Hour)
		if r.reconcile(ctx) {
			again.Reset(10 * time.Second)
		}
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case <-r.wakes:
		case <-again.C():
		}
		again.Stop()
	}
}

// Apply sets which pipelines run: all of the node. It may be called before Run and at any
// time in it, and does not wait. A pipeline that has changed is stopped and started anew;
// steps with the same name and kind keep their state. State, queues and dead letters of
// pipelines that are gone are removed. The pipelines must not be changed afterwards.
func (r *Runner) Apply(pipelines []*v1alpha1.Pipeline) {
	sorted := slices.Clone(pipelines)
	slices.SortStableFunc(sorted, compareAge)
	r.mu.Lock()
	r.want, r.refused = make(map[Ref]*v1alpha1.Pipeline), make(map[Ref]*v1alpha1.Pipeline)
	for _, p := range sorted {
		if ref := (Ref{p.Namespace, p.Name}); len(r.want) < r.cfg.MaxPipelines || r.want[ref] != nil {
			r.want[ref] = p
		} else {
			r.refused[ref] = p
		}
	}
	r.applied, r.anew, r.prune = true, true, true
	r.mu.Unlock()
	r.notify()
	r.wake()
}

// compareAge sorts the oldest first.
func compareAge(a, b *v1alpha1.Pipeline) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
}

func (r *Runner) wake() {
	select {
	case r.wakes <- struct{}{}:
	default:
	}
}

// Changed is closed at the next change of a status other than its counts. Call it before
// Status.
func (r *Runner) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *Runner) notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// reconcile starts and stops supervisors so that they are as Apply wants. It reports whether
// it must be called again after a pause.
func (r *Runner) reconcile(ctx context.Context) (retry bool) {
	r.mu.Lock()
	for ref, s := range r.supers {
		if s.ended() {
			delete(r.supers, ref)
		} else if r.want[ref] == nil {
			s.set(nil)
		}
	}
	for ref, p := range r.want {
		if s := r.supers[ref]; s != nil {
			if r.anew || s.wanted() != p { // one that has failed is not to be woken from its pause
				s.set(p)
			}
			continue
		}
		s := newSupervisor(r, ref, p)
		r.supers[ref] = s
		r.work.Go(func() {
			s.run(ctx)
			r.wake()
		})
	}
	r.anew = false
	idle := r.applied
	for ref, s := range r.supers {
		idle = idle && s.settled(r.want[ref]) // else what it had is pruned when it has ended
	}
	prune := r.prune && idle
	keep := r.keepLocked()
	kept := slices.AppendSeq(slices.Collect(maps.Keys(r.want)), maps.Keys(r.refused))
	r.mu.Unlock()
	if !prune || ctx.Err() != nil {
		return false
	}
	if err := errors.Join(r.store.prune(ctx, func(ref Ref) bool { return keep(ref, "") }), r.cfg.Queues.Prune(ctx, keep), r.places.prune(kept)); err != nil {
		if ctx.Err() == nil {
			r.cfg.Logger.Error("the state of pipelines that are gone was not removed", "err", err)
		}
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prune = false
	return false
}

// removeFormer removes what there is of another pipeline that was deleted while this one was
// created under its name, as when the node was away. The state is last: it has the UID.
func (r *Runner) removeFormer(ctx context.Context, p *Plan) error {
	former, err := r.store.former(ctx, p)
	if err != nil || !former {
		return err
	}
	r.cfg.Logger.Info("another pipeline had this name: its state, queues and dead letters are removed", "pipeline", p.ref.String())
	if err := r.cfg.Queues.Prune(ctx, func(ref Ref, _ string) bool { return ref != p.ref }); err != nil {
		return err
	}
	if err := r.places.remove(p.ref); err != nil {
		return err
	}
	return r.store.prune(ctx, func(ref Ref) bool { return ref != p.ref })
}

// keepLocked returns whether a queue is wanted. Nothing of a pipeline that is refused for
// being too many is removed.
func (r *Runner) keepLocked() func(ref Ref, sink string) bool {
	want, refused := r.want, r.refused
	return func(ref Ref, sink string) bool {
		if p := want[ref]; p != nil {
			return sink == "" || slices.ContainsFunc(p.Spec.Sinks, func(s v1alpha1.Sink) bool { return string(s.Name) == sink })
		}
		return refused[ref] != nil
	}
}

// Status returns the pipelines of the last Apply, by namespace and name.
func (r *Runner) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Status
	for ref, p := range r.want {
		if s := r.supers[ref]; s != nil {
			out = append(out, s.status(p.Generation))
		} else {
			out = append(out, Status{Ref: ref, Generation: p.Generation, State: Starting})
		}
	}
	for ref, p := range r.refused {
		out = append(out, Status{Ref: ref, Generation: p.Generation, State: Failed, Failures: []v1alpha1.Failure{{
			Node: r.cfg.Env.Node, Reason: v1alpha1.ReasonTooMany,
			Message: fmt.Sprintf("the node runs at most %d pipelines: remove one, or select another node", r.cfg.MaxPipelines),
		}}})
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Ref.String(), b.Ref.String()) })
	return out
}

// Tap shows live events of a pipeline; see Tapper. It returns ErrNotFound for a pipeline or
// step that there is not.
func (r *Runner) Tap(ctx context.Context, req TapRequest, show func(TapEvent) error) error {
	r.mu.Lock()
	s := r.supers[req.Ref]
	r.mu.Unlock()
	if s == nil {
		return ErrNotFound
	}
	return s.taps.show(ctx, req, show)
}
