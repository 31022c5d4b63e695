package hub

import (
	"context"
	"iter"
)

// Source is the owner's half of the state class: everything that the other side must hold, by key; the
// latest version wins. The cloud has one Source for each node, an edge has one. Its methods may be called
// at the same time.
//
// Order: changes to one key reach the peer in order, and versions in between may be skipped; there is no
// order between keys. Delivery: each newest version arrives at least once, and is acknowledged only after
// the peer's Sink has made it durable.
type Source interface {
	// Versions yields each key that the peer must hold with its version. It need not be one atomic view
	// as long as every later change is notified.
	Versions(ctx context.Context) (iter.Seq2[Key, string], error)
	// Load returns the newest object that the owner knows. held is the version that the peer has already,
	// or empty. For an object that no longer exists it returns one with Deleted set, but only when that is
	// certain: a Source whose view may be older than held reads the object from its origin or returns
	// ErrLagging. Absence from Versions alone never deletes anything.
	Load(ctx context.Context, key Key, held string) (Object, error)
	// Compare orders two versions: negative when a is older than b, zero when they are the same, positive
	// when a is newer. An empty version is older than every other. The versions of a key must grow, also
	// after the owner is restarted or restored from a backup: a version older than the peer's is never
	// sent. If it stays older for some seconds the session logs it, and Stats.Behind counts it.
	Compare(a, b string) int
	// Subscribe calls changed with the key of each object that is added, changed or deleted after Subscribe
	// has returned, until stop is called. changed does not block and takes no lock of the caller's.
	Subscribe(changed func(Key)) (stop func())
}

// Acker is implemented by a Source that wants to know what the peer has made durable, so that it can remove
// it. Acked is called at least once for each delivered object, in order for each key, from one goroutine at a
// time. An object that the peer refused for good counts as delivered: it is logged and not sent again. Objects
// that both sides find equal when they compare are reported too, in case an acknowledgement was lost with a
// link.
//
// An Acker itself remembers what its peer has: once an object is acknowledged the session forgets it, and held
// is empty in later Loads of that key. So a Source with ever new keys does not fill the session. If Acked
// fails, it is called again with back-off until the session ends; the next session reports the object again.
type Acker interface {
	Acked(ctx context.Context, acked []Object) error // bodies are not set
}

// TraceObserver is implemented by a Source that gives Objects a Trace. TraceDelivered is called when the
// peer has made such an object durable, with the key and the Trace as Load returned them, or when the
// peer did not take it: err is then its *Error, and unless that is final the object is loaded and sent
// again. It is not called for an object whose session ended first. It does not block.
type TraceObserver interface {
	TraceDelivered(key Key, trace string, err error)
}

// Sink is the receiver's half of the state class. A session calls Apply from
// one goroutine at a time; Versions may be called meanwhile.
type Sink interface {
	// Versions yields each key that the receiver holds with its version. A receiver that stores nothing
	// yields nothing, and the owner then sends everything that its Source lists.
	Versions(ctx context.Context) (iter.Seq2[Key, string], error)
	// Apply makes the objects durable, all of them or none, and then returns nil; the session acknowledges
	// after that. An error for a single object that wraps an *Error with a final code (CodeInvalid,
	// CodeForbidden, CodeUnsupported) drops that object with a log line and a metric. Every other error is
	// retried with back-off. Objects come in the owner's order for each key. Applying one twice has no effect.
	Apply(ctx context.Context, objects []Object) error
}
