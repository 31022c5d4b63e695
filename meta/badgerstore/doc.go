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
// Concurrent calls of Apply are committed together. One goroutine gathers the waiting
// batches, writes them in one transaction, and syncs once. Only then does it answer the
// callers and show the batches to readers and watchers. After a write error or a failed
// sync the content of the disk is unknown, so no further write succeeds until the store is
// opened again. Reads still work, and Store.Failing tells the program to restart.
//
// When the disk is read-only or has less than Config.Reserve left, Apply fails before it
// writes anything, with an error that wraps syscall.EROFS or syscall.ENOSPC. It works again
// when the disk does. The reserve exists because badger writes through memory maps: on a
// completely full disk such a write kills the process. That can still happen when other
// programs fill the reserve during a commit; no acknowledged batch is lost then. Opening
// and closing a store on a full disk needs room, so the store keeps a ballast file of
// 8 MiB, which it removes for that.
//
// When the disk is read-only or completely full at Open, the store uses a copy of its files
// in memory, which needs as much memory as they have bytes. Reads work, Apply fails with the
// same errors, and the first batch after the disk is writable moves the store back to its
// folder.
//
// # The folder
//
// Config.Dir holds a lock file, which names the process that uses the folder; the ballast;
// the folder data with badger's files and our FORMAT (schema and key) and REVISION (the
// last revision); and damaged-* folders.
//
// # Damage
//
// Open reads and checks everything: the checksums of tables and logs, and a hash over all
// records that each commit updates. If something is wrong, Open renames the folder data to
// damaged-TIME, calls Config.Damaged, and goes on with an empty store, which the cloud fills
// again. At most three damaged stores are kept, with 64 MiB for those before the newest, and
// none when the disk is full. If only the newest writes are missing, for example because a
// log file has vanished, Open goes on with the rest, calls Config.Damaged without a folder,
// and the store is no longer meta.Synced. With Config.OnDamage set to Fail, Open returns an
// error in all these cases and leaves the store unchanged.
//
// A folder that is in use or not writable, a wrong key, and a store of a newer release give
// an error that names the remedy. They leave all files unchanged.
//
// # Encryption
//
// With Config.KeyFile all keys and values are encrypted on disk with AES-256 in counter mode.
// badger makes a data key every ten days and keeps it encrypted with the key in the file.
// RotateKey replaces the key in the file, Encrypt encrypts a plain store, and Plain reports
// whether a store is plain. The names and sizes of files and the revision are not secret.
// Without the key Open fails and leaves the store unchanged.
//
// # Schema
//
// A store records its schema. Open upgrades an older one in one transaction, and refuses a
// newer one with a *meta.NewerError.
//
// # How it uses badger
//
// All values are in badger's tree; values over 128 KiB are cut into pieces. The value log is
// never written and needs no garbage collection: compaction frees space in proportion to
// what is written. badger syncs it with each commit all the same, beside its log of the memtable,
// and no option turns that off: with WithSyncWrites both are synced too. So it is in a folder of
// its own in memory (Config.Scratch, on Linux, if 8 MiB are free there), where a sync costs
// nothing; it is made anew by each Open and holds nothing that could be lost. "make bench-meta" gave
// 11,610 and 12,580 durable writes a second before, and 14,070 and 14,170 after (in turns, on a quiet
// machine). Without such a folder it is beside the tables. Open compacts the backlog of processes that were killed before they could
// compact. badger runs in managed mode with the store's revision as its version. A batch
// that is too big for one transaction is written in several of the same version. It counts
// only when the last one has written the store's state; Open removes the rest of a batch
// that a crash cut off. While a snapshot is open, badger keeps replaced values.
//
// # Memory
//
// With 3 MiB memtables, no block cache and two compactors, a store of 1,000 objects of 1 KiB
// adds about 8 MiB to a process; TestMemoryBudget keeps it below 12. Half of that is mapped
// files, which the system reclaims when it needs memory. A key adds 2 MiB; the test's bound
// is then 14. While thousands of writes a second are flushed and compacted, there is garbage
// in addition: a program on a small device bounds it with debug.SetMemoryLimit or GOMEMLIMIT.
// With a limit of 40 MiB, a process with 8 writers at full speed stayed below 75 MiB and
// returned to 46 MiB afterwards.
package badgerstore
