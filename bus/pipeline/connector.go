package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Emit gives events to the engine. It blocks while the engine has enough to do, and returns
// an error only when ctx or the pipeline has ended: the source then returns. The events
// belong to the engine.
//
// safe is called once when all of the events are safe: they are in the queues of all sinks
// that they go to, in the state of windows, or dropped. The source then acknowledges them to
// where they come from. It may be nil. It is called on a goroutine of the engine, in the
// order of the calls of Emit, and must not block. It is not called if the pipeline ends
// before; the source emits the events again when it runs anew, with the same ids.
type Emit func(ctx context.Context, events []Event, safe func()) error

// Source is where events come from. A Source with data of type []byte leaves decoding to
// the engine.
type Source interface {
	// Run emits events until ctx ends, then returns nil. After an error, and after nil while
	// ctx goes on, the engine calls Run again after a pause. It may call emit from several
	// goroutines, all of which it joins.
	Run(ctx context.Context, emit Emit) error
}

// SourceOpener makes the Source of a spec. It checks the spec and does no I/O. An error names
// the field and the remedy.
type SourceOpener func(spec *v1alpha1.Source, env Env) (Source, error)

// Sink is where events go.
type Sink interface {
	// Send sends events in their order and returns nil when the other side has all of them.
	// It is called by one goroutine. A *RefusedError says that one event can never be sent,
	// ErrRefused that none of them can: those become dead letters. After another error all
	// are sent again, with the same ids, after a pause, but for those that a *SentError says
	// were sent. The events are read only.
	Send(ctx context.Context, events []Event) error
	// Close releases connections and files. A second Close returns nil.
	Close() error
}

// SinkOpener makes the Sink of a spec. It checks the spec and does no I/O: a Sink connects in
// Send. An error names the field and the remedy.
type SinkOpener func(spec *v1alpha1.Sink, env Env) (Sink, error)

// Openers make sources and sinks.
type Openers struct {
	Source SourceOpener // required
	Sink   SinkOpener   // required
}

// ErrRefused is wrapped by errors of Send that sending again does not mend.
var ErrRefused = errors.New("pipeline: the sink refuses the event")

// RefusedError says that one event of a batch can never be sent. The events before it were
// sent; those after it were not.
type RefusedError struct {
	Index int   // of the event in the call of Send
	Err   error // why
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("pipeline: the sink refuses event %d of the batch: %v", e.Index, e.Err)
}

// Unwrap returns ErrRefused and the reason.
func (e *RefusedError) Unwrap() []error { return []error{ErrRefused, e.Err} }

// SentError says that the first events of a batch were sent and the others were not. Err is the error
// that Send would return for the others alone; it is never a *RefusedError.
type SentError struct {
	Sent int   // events
	Err  error // why the others were not
}

func (e *SentError) Error() string {
	return fmt.Sprintf("pipeline: the sink has %d events of the batch, and not the others: %v", e.Sent, e.Err)
}

// Unwrap returns the reason.
func (e *SentError) Unwrap() error { return e.Err }
