package hub

import (
	"context"
	"iter"
)

// Outbox is the sender's half of the events: those that were appended and are not yet
// acknowledged. They are durable until they are. Its methods may be called at the same time.
//
// Order: the events of one source reach the peer in the order of their ids. There is no order
// between sources, and a source whose events the peer cannot take now does not delay the
// others. Delivery: at least once; an Inbox that keeps its marks applies each event once.
// Overflow: an Outbox is bounded. A full one drops the oldest events and counts them, or
// refuses to append; its doc says which. The session does not notice dropped events.
type Outbox interface {
	// Sources yields each source that has events.
	Sources(ctx context.Context) (iter.Seq[string], error)
	// Next reads the oldest event of a source with an id above after. When there is none
	// yet it returns io.EOF. It is called again for the same event when a window was full,
	// and in another session.
	Next(ctx context.Context, source string, after uint64) (Event, error)
	// Acked says that the peer has made all events of a source up to id durable, or has
	// refused them for good: the Outbox removes them. It is called from one goroutine at a
	// time, once for each id that Next returned or once for several. When it fails, for
	// example because the disk is full, it is called again with back-off until the session
	// ends; the next session reports the id again.
	Acked(ctx context.Context, source string, id uint64) error
	// Subscribe calls appended with the source of each event that is appended after
	// Subscribe has returned, until stop is called. appended does not block and takes no
	// lock of the caller's.
	Subscribe(appended func(source string)) (stop func())
}

// Inbox is the receiver's half of the event class. For one source Append is
// called from one goroutine at a time, for different ones at the same time.
type Inbox interface {
	// Marks yields for each source the id of the newest event that was applied, as Append
	// stored it. The peer then sends the events after it. An Inbox that keeps no marks
	// yields nothing and gets every event again that is not acknowledged: applying an
	// event twice must then have no effect.
	Marks(ctx context.Context) (iter.Seq2[string, uint64], error)
	// Append makes events of one source durable, all of them or none, and then returns nil;
	// the session acknowledges after that. An error for a single event that wraps an *Error
	// with a final code drops that event, with a log line at both ends. Every other error
	// is retried with back-off until the session ends, because later events must wait.
	// Events that failed together are tried again one by one.
	Append(ctx context.Context, source string, events []Event) error
}
