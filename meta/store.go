package meta

import (
	"context"
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	// ErrNotFound is returned for a key that is not in the store.
	ErrNotFound = errors.New("meta: not found")
	// ErrConflict is returned when a condition of a batch does not hold;
	// nothing of the batch was applied.
	ErrConflict = errors.New("meta: conflict")
	// ErrCompacted is returned by Watch when changes after the asked revision
	// are no longer known; the caller lists and watches from there.
	ErrCompacted = errors.New("meta: revision is compacted")
	// ErrTooLarge is returned for a batch or value over the store's limits;
	// nothing of it was applied.
	ErrTooLarge = errors.New("meta: too large")
)

// CorruptError says that a store's files are damaged and where they were set
// aside; it comes from opening a store.
type CorruptError struct {
	Path   string // the folder as it was given
	Aside  string // where the damaged files are now; empty if they could not be moved
	Reason error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("meta: store %s is damaged (set aside as %s): %v", e.Path, e.Aside, e.Reason)
}

// Unwrap gives the cause.
func (e *CorruptError) Unwrap() error { return e.Reason }

// Record is one key with its value.
type Record struct {
	Key      string
	Value    []byte // owned by the caller
	Revision uint64 // the store's revision at which Value was written
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
	// Watch sends every change of keys with the prefix after the revision, in
	// revision order, without gaps or duplicates, as slices of one or more
	// events; several changes to one key are all seen. A watcher that does
	// not keep up is ended. The channel is closed when ctx or the store ends
	// or the watcher fell behind; the caller then lists and watches again. A
	// revision that this store has not reached, because the store behind the
	// caller was replaced, gives ErrCompacted too.
	Watch(ctx context.Context, prefix string, after uint64) (<-chan []Event, error)
	// Close waits for calls under way and releases the files. Twice is nil;
	// later calls return an error that wraps net.ErrClosed.
	Close() error
}
