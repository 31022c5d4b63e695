// Package badgerstore is a meta.Store in a folder, on badger, with a profile
// for small devices.
//
//	store, err := badgerstore.Open(badgerstore.Config{Dir: "/var/lib/edgekit/meta"})
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//
// # Durability
//
// Concurrent calls of Apply are committed together: one goroutine gathers what
// waits, writes it as one transaction, syncs once, and only then answers the
// callers and shows the batches to readers and watchers. A write error or a
// failed sync ends all writing until the store is opened again, since nobody
// knows what a disk holds after it failed once; reading goes on. When the disk
// has less than Config.Reserve left, Apply fails with an error that wraps
// syscall.ENOSPC before anything is written, since badger writes through
// memory maps, where a full disk kills the process.
//
// # The folder
//
// Config.Dir holds a lock file, which says who uses the folder, the folder
// data, which is badger's, and damaged-* folders. Files that are damaged are
// set aside under such a name, Config.Damaged is told, and Open goes on with
// an empty store: the cloud fills it again. The newest three are kept. A
// folder in use, one that cannot be written, a wrong key, and a store of a
// newer release are errors that name the remedy, and leave all files alone.
//
// # How it uses badger
//
// All values lie in badger's tree; those over 128 KiB are cut into pieces. The
// value log is never written, so that it needs no garbage collection: space
// comes back by compaction, in proportion to what is written. badger runs in
// managed mode with the store's revision as its version. A batch that is too
// big for one transaction is written as several of one version, and counts
// only once the store's own revision key is written with the last of them;
// Open undoes what a crash left without it.
//
// # Memory
//
// With 2 MiB memtables, no block cache and two compactors, a store of 1,000
// objects of 1 KiB adds about 8 MiB to what a process holds; the test
// TestMemoryBudget keeps it below 12. Half of that is files mapped into
// memory, which the system takes back when it needs them. While thousands of
// writes a second are flushed and compacted, garbage comes on top: a program
// on a small device bounds it with debug.SetMemoryLimit or GOMEMLIMIT. With a
// limit of 40 MiB a process that did nothing but 8 writers at full speed stayed
// below 75 MiB and came back to 46 MiB by itself.
package badgerstore
