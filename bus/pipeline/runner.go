package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// Config sets up a Runner. Openers, Options.Expressions, Queues and Store are required.
type Config struct {
	Options // for Compile
	Openers Openers
	Env     Env
	Queues  Queues
	// Store keeps the state of steps below the prefix "pipeline/state/". With Queues on the
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

// StepStats are the counts of one source, step or sink since the program began.
type StepStats struct {
	Name  string
	Kind  string        // as in the spec: mqtt, filter, window, cloud and so on
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

// Runner runs pipelines. Make one with New. All methods may be called by several goroutines
// at once.
type Runner struct {
	cfg Config
}

// New checks cfg and allocates a Runner.
func New(cfg Config) (*Runner, error) {
	return &Runner{cfg: cfg}, nil
}

// Run runs the pipelines of Apply until ctx ends, then returns nil. A second call returns
// bus.ErrStarted.
func (r *Runner) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Apply sets which pipelines run: all of the node. It may be called before Run and at any
// time in it, and does not wait. A pipeline that has changed is stopped and started anew;
// steps with the same name and kind keep their state. State, queues and dead letters of
// pipelines that are gone are removed. The pipelines must not be changed afterwards.
func (r *Runner) Apply(pipelines []*v1alpha1.Pipeline) {}

// Changed is closed at the next change of a status other than its counts. Call it before
// Status.
func (r *Runner) Changed() <-chan struct{} { return nil }

// Status returns the pipelines of the last Apply, by namespace and name.
func (r *Runner) Status() []Status { return nil }

// Tap shows live events of a pipeline; see Tapper. It returns ErrNotFound for a pipeline or
// step that there is not.
func (r *Runner) Tap(ctx context.Context, req TapRequest, show func(TapEvent) error) error {
	return nil
}

// ErrNotFound says that there is no such pipeline or step.
var ErrNotFound = errors.New("pipeline: no such pipeline or step")
