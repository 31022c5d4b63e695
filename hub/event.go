package hub

import (
	"context"
	"iter"
)

// Outbox is the sender's half of the event class: what was appended and is not
// acknowledged yet, durable until it is. Its methods may be called at the same
// time.
//
// Order: the events of one source reach the peer in the order of their ids;
// there is no order between sources, and a source whose events the peer cannot
// take now does not hold up the others. Delivery: at least once, and applied
// once by an Inbox that keeps its marks. Overflow: an Outbox is bounded. One
// that is full drops the oldest events and counts them, or refuses to append
// more; it says which. What it dropped is not missed by the session.
type Outbox interface {
	// Sources yields each source that has events.
	Sources(ctx context.Context) (iter.Seq[string], error)
	// Next reads the oldest event of a source with an id above after. When
	// there is none (yet) it returns io.EOF. It is called again for what it
	// gave before, when a window was full or in another session.
	Next(ctx context.Context, source string, after uint64) (Event, error)
	// Acked says that the peer has made all of a source up to id durable, or
	// has refused it for good: the Outbox forgets it. It is called from one
	// goroutine at a time, at least once for each id that Next gave, or once
	// for several. When it fails, for example since the disk is full, it is
	// called again with back-off for as long as the session stands; the next
	// session reports it again.
	Acked(ctx context.Context, source string, id uint64) error
	// Subscribe has appended called with the source of each event that was
	// appended after Subscribe returned, until stop is called. appended does
	// not block and takes no lock of the caller's.
	Subscribe(appended func(source string)) (stop func())
}

// Inbox is the receiver's half of the event class. For one source Append is
// called from one goroutine at a time, for different ones at the same time.
type Inbox interface {
	// Marks yields for each source the id of the newest event that was applied,
	// as kept together with what Append wrote. The peer then sends what comes
	// after it. An Inbox that keeps no marks yields nothing, and gets again
	// whatever its peer has not seen acknowledged: applying an event twice must
	// then have no effect.
	Marks(ctx context.Context) (iter.Seq2[string, uint64], error)
	// Append makes events of one source durable, all of them or none, and only
	// then returns nil; the session acknowledges after that. An error that
	// wraps an *Error with a final code for a single event drops that event
	// with a log line at both ends; every other error is retried with back-off
	// for as long as the session stands, since what comes after it must wait.
	// Events that failed together are tried again one by one.
	Append(ctx context.Context, source string, events []Event) error
}
