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
// knows what a disk holds after it failed once; reading goes on, and
// Store.Failing tells the program to start anew.
//
// When the disk has less than Config.Reserve left, or is read-only, Apply fails
// with an error that wraps syscall.ENOSPC or syscall.EROFS before anything is
// written, and works again when that has changed. The reserve is there because
// badger writes through memory maps, where a disk that is full to the last byte
// kills the process: if others fill the reserve while a commit is under way,
// that is still so. Nothing is lost by it. To open and to close on a full disk,
// the store keeps a ballast file of 8 MiB, which it gives up for that.
//
// When a disk is read-only or full to the last byte already at Open, the store
// is opened from a copy of its files in memory, which is as large as they are.
// Reading goes on, Apply fails with the same errors, and the first batch after
// the disk is writable brings the store back to its folder.
//
// # The folder
//
// Config.Dir holds a lock file, which says who uses the folder; the ballast;
// the folder data, with badger's files and two of our own, FORMAT (schema, and
// which key) and REVISION (how far the store had come); and damaged-* folders.
//
// # Damage
//
// Open reads everything and checks it: the checksums of tables and logs, and
// that the records are those that were stored, by a sum over all of them that
// each commit writes. If something is wrong, the folder data is renamed to
// damaged-TIME, Config.Damaged is told, and Open goes on with an empty store:
// the cloud fills it again. At most three are kept, 64 MiB of those before the
// newest, and none when the disk is full. If all that is there is right and
// only the newest writes are missing, as when a log file has vanished, the store
// goes on with what is left, tells Config.Damaged so, without a folder, and is
// no longer meta.Synced. With Config.OnDamage set to Fail all of that is an error
// of Open, and the store stays as it is.
//
// A folder in use, one that this user may not write, a wrong key, and a store of a
// newer release are errors that name the remedy, and leave all files alone.
//
// # Encryption
//
// With Config.KeyFile all keys and values are encrypted on disk by AES-256 in
// counter mode, under data keys that badger makes every ten days and keeps
// encrypted with the key in the file. RotateKey replaces that key, Encrypt gives one
// to a store that has none, and Plain tells whether it has. The names and sizes of
// files, and the revision, are not secret. A key that is lost is an error of Open; the
// store stays as it is.
//
// # Schema
//
// A store says which schema it has. Open upgrades an older one in one
// transaction, and refuses a newer one with a *meta.NewerError.
//
// # How it uses badger
//
// All values lie in badger's tree; those over 128 KiB are cut into pieces. The
// value log is never written, so that it needs no garbage collection: space
// comes back by compaction, in proportion to what is written. Open compacts what
// processes have left that were killed before they came to it. badger runs in
// managed mode with the store's revision as its version. A batch that is too
// big for one transaction is written as several of one version, and counts
// only once the store's own state is written with the last of them; Open undoes
// what a crash left without it. A snapshot keeps badger from dropping what has
// been replaced since.
//
// # Memory
//
// With 3 MiB memtables, no block cache and two compactors, a store of 1,000
// objects of 1 KiB adds about 8 MiB to what a process holds; the test
// TestMemoryBudget keeps it below 12. Half of that is files mapped into
// memory, which the system takes back when it needs them. With a key it is 2 MiB
// more, for which the test's bound is 14. While thousands of
// writes a second are flushed and compacted, garbage comes on top: a program
// on a small device bounds it with debug.SetMemoryLimit or GOMEMLIMIT. With a
// limit of 40 MiB a process that did nothing but 8 writers at full speed stayed
// below 75 MiB and came back to 46 MiB by itself.
package badgerstore
