package meta

import (
	"context"
	"iter"
)

// Record is one key with its value.
type Record struct {
	Key      string
	Value    []byte // owned by the caller
	Revision uint64 // the store's revision at which Value was written
}

// Entry is an existing key without its value.
type Entry struct {
	Key      string
	Revision uint64 // the store's revision at which its value was written
}

// Op is one change in a batch. The ops of a batch are applied in order, and a
// watcher sees each of them. The conditions of all ops are checked against the state
// before the batch.
type Op struct {
	Key    string
	Value  []byte // copied by the store
	Delete bool   // remove Key; Value is ignored; removing an absent key is not an error and makes no event
	// If, when not nil, is the revision that Key must have, 0 for an absent key.
	// If it has another one, the whole batch fails with ErrConflict.
	If *uint64
}

// Event is one change as a watcher sees it.
type Event struct {
	Record
	// Deleted says that the key was removed: Value is its last value, Revision is
	// that of the removal.
	Deleted bool
}

// Store is an ordered, durable map from string keys to bytes with revisions and
// watches. Several goroutines may call all methods at once.
//
// Every batch gets the next revision. Revisions never repeat, even after a restart.
// A batch that Apply has acknowledged survives a crash and a power cut. A batch is
// applied whole or not at all.
type Store interface {
	// Apply makes all ops durable in one step and returns the new revision.
	// Without ops it returns the current revision. ctx bounds the wait until the
	// batch is started. A started batch is always finished, so that the result
	// says for certain whether it was applied.
	Apply(ctx context.Context, ops ...Op) (uint64, error)
	// Get returns one record. For an absent key it returns ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)
	// List returns all records whose keys have the prefix, in key order, and the
	// revision that they were read at.
	List(ctx context.Context, prefix string) ([]Record, uint64, error)
	// Keys is List without the values, for callers that need only the keys. It
	// needs memory for the keys alone.
	Keys(ctx context.Context, prefix string) ([]Entry, uint64, error)
	// Watch sends every change after the revision to keys with the prefix, in
	// revision order, without gaps or duplicates, as slices of one or more
	// events. Several changes to one key are all sent. The channel is closed when
	// ctx ends, when the store closes, or when the watcher does not keep up; the
	// caller then lists and watches again. Watch returns ErrCompacted for a
	// revision that is too old, and for one that the store has not reached yet,
	// which happens when the store was replaced meanwhile.
	Watch(ctx context.Context, prefix string, after uint64) (<-chan []Event, error)
	// Snapshot returns the content at the newest revision. The store goes on
	// while it is read. The caller closes it.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Close waits for running calls and releases the files. A second Close
	// returns nil. Later calls return an error that wraps net.ErrClosed.
	Close() error
}

// PrefixWatcher is a Store that can watch several prefixes in one watch. Both stores
// of this module can. metatest checks the contract for every Store that can.
type PrefixWatcher interface {
	// WatchPrefixes is Watch for the keys with any of the prefixes. The changes
	// of all prefixes come in revision order.
	WatchPrefixes(ctx context.Context, prefixes []string, after uint64) (<-chan []Event, error)
}

// WatchPrefixes watches the keys with any of the prefixes. If the Store is not a
// PrefixWatcher, WatchPrefixes watches all keys, so the caller must check the key of
// each event.
func WatchPrefixes(ctx context.Context, s Store, prefixes []string, after uint64) (<-chan []Event, error) {
	if p, ok := s.(PrefixWatcher); ok {
		return p.WatchPrefixes(ctx, prefixes, after)
	}
	return s.Watch(ctx, "", after)
}

// Snapshot is the content of a store at one revision. Several goroutines may call
// its methods at once. While a Snapshot is open, the store cannot free values that
// were replaced since, so close it soon. After its store is closed, its methods
// return errors that wrap net.ErrClosed.
type Snapshot interface {
	// Revision is the revision that the Snapshot shows. A Watch from it sends
	// all later changes.
	Revision() uint64
	// Get returns one record. For an absent key it returns ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)
	// Records returns all records whose keys have the prefix, in key order. It
	// reads a few at a time, so its memory does not grow with the store. When it
	// fails, the error is the last element.
	Records(ctx context.Context, prefix string) iter.Seq2[Record, error]
	// Close releases the values that the Snapshot kept. A second Close returns
	// nil. Later calls return an error that wraps net.ErrClosed.
	Close() error
}
