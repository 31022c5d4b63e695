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
	// Scratch is a folder in memory for badger's value log, which stays empty, and for a copy of
	// the store's files. Open makes the copy when the disk cannot be written. Empty means
	// /dev/shm, or else the system's folder for temporary files.
	Scratch string
	// OnDamage says what Open does with a damaged store. The default moves it aside and
	// starts with an empty store, which is right where a cloud fills it again.
	OnDamage OnDamage
	// Damaged is called, during Open, when the store's files were damaged and moved
	// aside, so that the program can report it. It may be nil. The store logs it too.
	Damaged func(*meta.CorruptError)
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // for the names of damaged folders and the first revision; nil means time.Now
}

// OnDamage is what Open does with a damaged store.
type OnDamage uint8

const (
	// SetAside renames the damaged store and starts with an empty one. If only the
	// newest writes are missing, Open goes on with the rest.
	SetAside OnDamage = iota
	// Fail makes Open return the *meta.CorruptError and leave the store unchanged, even
	// if only the newest writes are missing. It is for a node without a cloud, whose
	// operator restores a backup.
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

// The profile for small devices. badger limits a transaction to 15 % of the memtable, so
// the three sizes depend on each other. Flushing a memtable delays the commits that run at
// the same time: with 2 MiB one in a hundred took 12 to 14 ms, with 3 or 4 MiB 8 to 10.
const (
	memTable       = 3 << 20
	levelZeroStall = 6         // so many tables that were not compacted hold up the writing out of the next
	txnBytes       = 256 << 10 // of keys, values and badger's own estimate for each entry
	txnOps         = 2000
	piece          = 128 << 10 // values above this are stored in pieces of this size
)

// profile is badger's configuration. Memory goes mainly into memtables (a heap arena and a
// mapped log for each), so there are few and small ones. Nothing is compressed or cached,
// because tables are read through the page cache.
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
		WithValueThreshold(2 * piece). // no value is that long: the value log stays empty (see valueLogFolder)
		WithValueLogFileSize(1 << 20).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead)
	if len(key) > 0 {
		// With encryption badger requires both caches: decrypted blocks, and decrypted
		// indexes of 30 KiB for each table. They are small, because most reads are of recent
		// writes, which are in a memtable.
		o = o.WithEncryptionKey(key).WithBlockCacheSize(256 << 10).WithIndexCacheSize(512 << 10)
	}
	return o
}
