package badgerstore

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// backlog is what waits for compaction: the tables that memtables were written
// out to, which hold every value that was ever put, and not yet only the last.
type backlog struct{ tables, bytes int }

// tooMuch says that a store must be folded before it goes on. badger compacts
// in the background and begins up to a second after it was opened: a process
// that is killed again and again before that adds to the backlog in each of its
// lives and never takes away. One that lives longer, or is closed, leaves less
// than this.
func (b backlog) tooMuch() bool { return b.tables > levelZeroStall || b.bytes > 2*memTable }

// fold compacts the backlog into the level below, and opens badger again. What
// a newer version hides is dropped up to the revision. It takes as long as
// reading and writing the backlog and that level, which holds little else, and
// may be killed at any time: badger's manifest names the tables before or those
// after. badger has no call for this, only an option for when it is closed; that
// is set now and not at the first opening, since closing a store that turns out
// to be damaged must change nothing.
func fold(db *badger.DB, o badger.Options, revision uint64) (*badger.DB, error) {
	if err := db.Close(); err != nil {
		return db, err
	}
	folding, err := badger.OpenManaged(o.WithNumCompactors(0).WithCompactL0OnClose(true))
	if err != nil {
		return db, fmt.Errorf("opening for compaction: %w", err)
	}
	folding.SetDiscardTs(revision)
	if err := folding.Close(); err != nil {
		return folding, fmt.Errorf("compacting: %w", err)
	}
	again, err := badger.OpenManaged(o)
	if err != nil {
		return folding, fmt.Errorf("opening after compaction: %w", err)
	}
	return again, nil
}
