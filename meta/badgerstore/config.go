package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/edgekit/edgekit/meta"
)

// Config sets up a Store. Only Dir is required.
type Config struct {
	// Dir is the folder of the store; it is made, 0700, if it is not there.
	Dir string
	// KeyFile names the file with the key that the store is encrypted with:
	// 64 hexadecimal digits, readable by its owner only. If neither the file
	// nor a store exists yet, a key is made. Empty means no encryption. A
	// store keeps the choice that it was made with.
	KeyFile string
	// Reserve is how many bytes the disk must have left for Apply to go on;
	// 0 means 32 MiB, negative turns the check off.
	Reserve int64
	// Scratch is a folder in memory for a copy of the store's files, made when
	// the disk takes nothing at Open; empty means /dev/shm, or else the
	// system's folder for temporary files.
	Scratch string
	// OnDamage says what Open does with a store whose files are damaged. The
	// default sets it aside and starts with an empty one, which is right where a
	// cloud fills it again.
	OnDamage OnDamage
	// Damaged is told, during Open, that the store's files were damaged and
	// set aside, so that the program can report it. It may be nil; the fact is
	// logged in any case.
	Damaged func(*meta.CorruptError)
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // for the names of damaged folders and the first revision; nil means time.Now
}

// OnDamage is what Open does with a damaged store.
type OnDamage uint8

const (
	// SetAside renames the damaged store and starts with an empty one; if only
	// the newest writes are gone, it goes on with what is left.
	SetAside OnDamage = iota
	// Fail has Open return the *meta.CorruptError and leave the store as it is,
	// also if only the newest writes are gone: for a node that nobody fills
	// again, whose operator restores a backup.
	Fail
)

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("badgerstore: Config.Dir is required")
	}
	if c.OnDamage > Fail {
		return c, fmt.Errorf("badgerstore: Config.OnDamage is %d: it must be SetAside or Fail", c.OnDamage)
	}
	if c.Reserve == 0 {
		c.Reserve = 32 << 20
	}
	if c.Damaged == nil {
		c.Damaged = func(*meta.CorruptError) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// The profile for small devices. badger caps one transaction at 15 % of the
// memtable, so that the three sizes go together. Writing a memtable out holds up
// the commits beside it: with 2 MiB one in a hundred took 12 to 14 ms, with 3 or
// 4 MiB it took 8 to 10.
const (
	memTable       = 3 << 20
	levelZeroStall = 6         // so many tables that were not compacted hold up the writing out of the next
	txnBytes       = 256 << 10 // of keys, values and badger's own estimate for each entry
	txnOps         = 2000
	piece          = 128 << 10 // values above this are stored in pieces of this size
)

// profile is how badger is set up. Memory goes into memtables (a heap arena
// and a mapped log for each), so there are few and small ones; nothing is
// compressed and nothing cached, since tables are read through the page cache.
func profile(dir string, key []byte, log *slog.Logger) badger.Options {
	o := badger.DefaultOptions(dir).
		WithLogger(logger{log}).
		WithMetricsEnabled(false).
		WithSyncWrites(false). // the committer syncs, once for each group
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithNumGoroutines(1).
		WithMemTableSize(memTable).
		WithNumMemtables(2).
		WithBaseTableSize(memTable).
		WithBaseLevelSize(4 << 20).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(levelZeroStall).
		WithNumCompactors(2).
		WithValueThreshold(2 * piece). // no value is that long: the value log stays empty
		WithValueLogFileSize(1 << 20).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead)
	if len(key) > 0 {
		// With encryption badger wants both caches: of blocks and of the tables'
		// indexes, 30 KiB each, in clear. They are small, since most reads are of
		// what was written last, which is in a memtable.
		o = o.WithEncryptionKey(key).WithBlockCacheSize(256 << 10).WithIndexCacheSize(512 << 10)
	}
	return o
}
