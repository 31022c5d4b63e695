package meta

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors that callers branch on. A full disk gives an error that wraps
// syscall.ENOSPC, a read-only one an error that wraps syscall.EROFS. Both may pass,
// and reads work meanwhile. TakesNothing recognizes both.
var (
	// ErrNotFound is returned for a key that is not in the store.
	ErrNotFound = errors.New("meta: not found")
	// ErrConflict is returned when a condition of a batch does not hold;
	// nothing of the batch was applied.
	ErrConflict = errors.New("meta: conflict")
	// ErrCompacted is returned by Watch when the store no longer knows all
	// changes after the given revision. The caller lists, and watches from there.
	ErrCompacted = errors.New("meta: revision is compacted")
	// ErrTooLarge is returned for a batch or value over the store's limits;
	// nothing of it was applied.
	ErrTooLarge = errors.New("meta: too large")
	// ErrStarted is returned by a second Run of one value; the packages below
	// meta return it too.
	ErrStarted = errors.New("meta: Run was called before")
	// ErrFailed is returned for every write after one that may or may not have
	// reached the disk, such as a failed sync. Reads still work. Open the store
	// again to write.
	ErrFailed = errors.New("meta: an earlier write failed and may be lost: open the store again to write")
)

// TakesNothing reports whether an error says that the disk cannot be written now,
// because it is full or read-only. Both may pass.
func TakesNothing(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS)
}

// CorruptError says that the files of a store are damaged, and where they were
// moved. Opening a store returns it.
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

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Reason }

// NewerError says that a newer release wrote the store. Opening a store returns it
// and leaves the store unchanged.
type NewerError struct {
	Path        string // the folder as it was given
	Schema      uint64 // of the store
	KnownSchema uint64 // the newest that this program knows
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("meta: store %s has schema %d, this program knows %d: use the newer program again, or another folder; nothing was changed", e.Path, e.Schema, e.KnownSchema)
}
