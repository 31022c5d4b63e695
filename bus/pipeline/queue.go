package pipeline

import (
	"context"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// Queues open the queues between the steps and the sinks, and keep dead letters.
type Queues interface {
	// Open returns the queue of a sink. What waited in it is still there. A queue that is
	// damaged is set aside.
	Open(ctx context.Context, ref Ref, sink *v1alpha1.Sink) (Queue, error)
	// Prune removes the queues and dead letters of pipelines and sinks that keep does not
	// want. It is called with all pipelines of the node known.
	Prune(ctx context.Context, keep func(ref Ref, sink string) bool) error
	// StageDead is Stage for dead letters. It is bounded: the oldest of the pipeline are
	// dropped.
	StageDead(ctx context.Context, ref Ref, letters []DeadLetter) (Staged, error)
}

// Queue is the queue of one sink. One goroutine stages and another one takes and removes.
type Queue interface {
	// Stage prepares to append events. With overflow Block it waits for room until ctx
	// ends. The caller applies Staged.Ops in one batch with others of the same store, then
	// calls Staged.Done.
	Stage(ctx context.Context, events []Event) (Staged, error)
	// Take waits for the next batch until ctx ends. It gives the same events again until they
	// are removed. The queue chooses between new events and the backlog.
	Take(ctx context.Context) (Batch, error)
	// Remove removes a batch that was sent, together with ops of the same store.
	Remove(ctx context.Context, b Batch, ops ...meta.Op) error
	// Stats returns what waits.
	Stats() QueueStats
	// Close ends Take and Stage with an error that wraps net.ErrClosed. A second Close
	// returns nil. What waits stays.
	Close() error
}

// Staged is a prepared append.
type Staged struct {
	Ops []meta.Op // none for a queue in memory
	// Done is called once: committed says whether Ops were applied. nil means that nothing is
	// to do.
	Done func(committed bool)
}

// Batch is what a Queue gives at once.
type Batch struct {
	Events []Event
	Since  time.Time // when the oldest of them was appended
	Token  any       // of the Queue
}

// QueueStats says what waits in a queue.
type QueueStats struct {
	Events  int64     // that wait
	Bytes   int64     // of them
	Oldest  time.Time // when the oldest was appended; zero if none waits
	Dropped int64     // since the program began, by overflow and age
	Blocked bool      // Stage waits for room
}

// DeadLetter is an event that a pipeline could not handle.
type DeadLetter struct {
	Step    string // the source, step or sink
	Reason  string // one word, as v1alpha1.ReasonRefused
	Message string // what failed
	Time    time.Time
	Event   Event
}
