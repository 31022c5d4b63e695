package badgerstore

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// backlog is what waits for compaction: the tables that memtables were written
// out to, which hold every value that was ever put, and not yet only the last.
type backlog struct{ tables, bytes int }

// tooMuch says that a store must be compacted before use. badger compacts in the background
// and starts up to a second after it was opened. A process that is killed again and again
// before that only adds to the backlog. A process that lives longer, or closes the store,
// leaves less than this.
func (b backlog) tooMuch() bool { return b.tables > levelZeroStall || b.bytes > 2*memTable }

// fold compacts the backlog into the level below, and opens badger again. It drops versions up
// to the revision that newer ones hide. It takes as long as reading and writing the backlog and
// that level, which holds little else. It may be killed at any time: badger's manifest names
// either the old tables or the new ones. badger has no call for this, only an option that
// applies on close. fold sets it only now, because closing a store that turns out to be damaged
// must not change it.
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
