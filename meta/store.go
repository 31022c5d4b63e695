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

// Entry is a key that is there, without its value.
type Entry struct {
	Key      string
	Revision uint64 // the store's revision at which its value was written
}

// Op is one change in a batch. The ops of a batch are done in order, and a
// watcher sees each of them; conditions are held against the state before the
// batch.
type Op struct {
	Key    string
	Value  []byte // copied by the store
	Delete bool   // remove Key; Value is ignored; removing an absent key is no error and no event
	// If, when not nil, is the revision that Key must have, 0 for absent;
	// otherwise the whole batch fails with ErrConflict.
	If *uint64
}

// Event is one change as a watcher sees it.
type Event struct {
	Record
	// Deleted says that the key is gone: Value is what it last was, Revision
	// that of the deletion.
	Deleted bool
}

// Store is an ordered, durable map from string keys to bytes with revisions
// and watches. All methods may be called by several goroutines at once.
//
// Every batch gets the next revision; revisions never repeat, also after a
// restart. What Apply has acknowledged survives a crash and a power cut, and a
// batch is there whole or not at all.
type Store interface {
	// Apply makes all ops durable as one and returns the new revision. With
	// no ops it returns the current revision. ctx bounds the wait for a turn;
	// a batch that has got its turn is done to the end, so that the result
	// always says what happened.
	Apply(ctx context.Context, ops ...Op) (uint64, error)
	// Get reads one key, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)
	// List reads all keys with the prefix in key order, as of one revision,
	// which it returns.
	List(ctx context.Context, prefix string) ([]Record, uint64, error)
	// Keys gives what List does without the values, for those who need to know
	// only what is there: it takes memory for the keys alone.
	Keys(ctx context.Context, prefix string) ([]Entry, uint64, error)
	// Watch sends every change of keys with the prefix after the revision, in
	// revision order, without gaps or duplicates, as slices of one or more
	// events; several changes to one key are all seen. A watcher that does
	// not keep up is ended. The channel is closed when ctx or the store ends
	// or the watcher fell behind; the caller then lists and watches again. A
	// revision that this store has not reached, because the store behind the
	// caller was replaced, gives ErrCompacted too.
	Watch(ctx context.Context, prefix string, after uint64) (<-chan []Event, error)
	// Snapshot gives the content at the newest revision, to be read at
	// leisure while the store goes on. The caller closes it.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Close waits for calls under way and releases the files. Twice is nil;
	// later calls return an error that wraps net.ErrClosed.
	Close() error
}

// PrefixWatcher is a Store that can watch several prefixes as one. Both of this
// module's stores do, and metatest holds every Store that does to the contract.
type PrefixWatcher interface {
	// WatchPrefixes is Watch for the keys with any of the prefixes: one watch, so
	// that the changes of all of them come in revision order.
	WatchPrefixes(ctx context.Context, prefixes []string, after uint64) (<-chan []Event, error)
}

// WatchPrefixes watches the keys with any of the prefixes. Of a Store that is no
// PrefixWatcher it watches all keys, so that more comes than was asked for: who
// calls it looks at each key.
func WatchPrefixes(ctx context.Context, s Store, prefixes []string, after uint64) (<-chan []Event, error) {
	if p, ok := s.(PrefixWatcher); ok {
		return p.WatchPrefixes(ctx, prefixes, after)
	}
	return s.Watch(ctx, "", after)
}

// Snapshot is all that a store held at one revision. Its methods may be called
// by several goroutines at once. An open Snapshot keeps what has been replaced
// since from being freed, so that it must be closed soon. When its store is
// closed it can no longer be read, and returns errors that wrap net.ErrClosed.
type Snapshot interface {
	// Revision is the revision that the Snapshot shows; a Watch after it
	// sends what came later.
	Revision() uint64
	// Get reads one key, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)
	// Records gives all keys with the prefix in key order, a few at a time,
	// so that the memory it needs does not grow with the store. An error is
	// the last thing that it gives.
	Records(ctx context.Context, prefix string) iter.Seq2[Record, error]
	// Close lets go of what the Snapshot kept. Twice is nil; later calls
	// return an error that wraps net.ErrClosed.
	Close() error
}
