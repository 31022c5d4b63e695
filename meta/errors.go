package meta

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors that callers branch on. A full disk is told by an error that wraps
// syscall.ENOSPC, one that cannot be written by syscall.EROFS; both may go away
// by themselves, and reading goes on meanwhile. TakesNothing tells them.
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
	// ErrStarted is returned by a second Run of one value; the packages below
	// meta return it too.
	ErrStarted = errors.New("meta: Run was called before")
	// ErrFailed is returned for every write after one whose end nobody knows,
	// such as a sync that failed. Reading goes on; writing needs the store to
	// be opened again.
	ErrFailed = errors.New("meta: writing has ended")
)

// TakesNothing reports whether an error says that a disk takes nothing now, since
// it is full or read-only. That may go away by itself.
func TakesNothing(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS)
}

// CorruptError says that a store's files are damaged and where they were set
// aside; it comes from opening a store.
type CorruptError struct {
	Path   string // the folder as it was given
	Aside  string // where the damaged files are now; empty if they could not be moved
	Reason error
}

func (e *CorruptError) Error() string {
	if e.Aside == "" {
		return fmt.Sprintf("meta: store %s is damaged: %v", e.Path, e.Reason)
	}
	return fmt.Sprintf("meta: store %s is damaged (set aside as %s): %v", e.Path, e.Aside, e.Reason)
}

// Unwrap gives the cause.
func (e *CorruptError) Unwrap() error { return e.Reason }

// NewerError says that a newer release wrote the store; it comes from opening
// a store, which is then as it was.
type NewerError struct {
	Path        string // the folder as it was given
	Schema      uint64 // of the store
	KnownSchema uint64 // the newest that this program knows
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("meta: store %s has schema %d, this program knows %d: use the newer program again, or another folder; nothing was changed", e.Path, e.Schema, e.KnownSchema)
}
