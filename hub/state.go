package hub

import (
	"context"
	"iter"
)

// Source is the owner's half of the state class: everything that the other
// side must hold, by key, latest version wins. The cloud has one Source for
// each node, an edge has one. Its methods may be called at the same time.
//
// Order: changes to one key reach the peer in order, with intermediate
// versions skipped at will; there is no order between keys. Delivery: each
// newest version arrives at least once, and is acknowledged only after the
// peer's Sink has made it durable.
type Source interface {
	// Versions yields each key that the peer must hold with its version. It
	// need not be one atomic view as long as every later change is notified.
	Versions(ctx context.Context) (iter.Seq2[Key, string], error)
	// Load reads one object as new as the owner knows it. held is the version
	// that the peer already has, or empty. An object that no longer exists is
	// returned with Deleted set, and only when that is certain: a Source whose
	// view may be older than held reads the truth itself or returns
	// ErrLagging. Absence from Versions alone never deletes anything.
	Load(ctx context.Context, key Key, held string) (Object, error)
	// Compare orders two versions: negative when a is older than b, zero when
	// they are the same, positive when a is newer. An empty version is older
	// than every other. The versions of a key grow, also when the owner is
	// restarted or restored from a backup: what is older than what the peer
	// holds is never sent. Where it stays older for some seconds the session
	// logs it, and Stats.Behind counts it.
	Compare(a, b string) int
	// Subscribe has changed called with the key of each object that was
	// added, altered or deleted after Subscribe returned, until stop is
	// called. changed does not block and takes no lock of the caller's.
	Subscribe(changed func(Key)) (stop func())
}

// Acker is implemented by a Source that wants to know what the peer has made
// durable, so that it can forget it. Acked is called at least once for each
// object delivered, in order for each key, from one goroutine at a time. What
// the peer refuses for good counts as delivered: it is logged and not sent
// again. What both sides find equal when they compare is reported as well, which makes
// up for an acknowledgement that was lost with a link.
//
// An Acker itself remembers what its peer has: once an object is acknowledged the
// session forgets it, and held is empty in later Loads of that key. So a Source of ever
// new keys does not fill the session. An Acked that fails is called again with back-off
// for as long as the session stands; the next session reports it again.
type Acker interface {
	Acked(ctx context.Context, acked []Object) error // bodies are not set
}

// Sink is the receiver's half of the state class. A session calls Apply from
// one goroutine at a time; Versions may be called meanwhile.
type Sink interface {
	// Versions yields each key that is held with its version. A receiver that
	// remembers nothing yields nothing, and the owner then sends whatever its
	// Source lists.
	Versions(ctx context.Context) (iter.Seq2[Key, string], error)
	// Apply makes the objects durable, all of them or none, and only then
	// returns nil; the session acknowledges after that. An error that wraps an
	// *Error with a final code (CodeInvalid, CodeForbidden, CodeUnsupported)
	// for a single object drops that object with a log line and a metric;
	// every other error is retried with back-off. Objects come in the owner's
	// order for each key; applying one twice has no effect.
	Apply(ctx context.Context, objects []Object) error
}
