// Package meta is what an edge node remembers: the contract of its durable
// store, and the shape of the objects in it.
//
// # What is here
//
// A [Store] is an ordered map from string keys to bytes with atomic batches,
// revisions and watches. This package holds the contract only. Two
// implementations sit beside it, and both pass the suite in meta/metatest:
//
//   - meta/memstore keeps everything in memory: for tests, and for gateways
//     that have no disk.
//   - meta/badgerstore keeps everything in a folder, synced before it is
//     acknowledged: for nodes.
//
// Two packages build on the contract. meta/manager is MetaManager: it stores the
// objects that the cloud sends, answers queries while offline, and keeps the outbox
// of reports. meta/kube is the typed client that the pod agent uses.
//
// # Areas
//
// By convention a key is a path whose first element is an area; a Store does not
// check that. [Down] holds the objects that the cloud sent, [Up] the objects that
// this node reports, [Acked] how much of Up the cloud has acknowledged, [Events] the
// newest events of this node, and [Local] everything else. In Down, Up and Events a
// key is the area followed by [Key.Path], and the value is an [Object] in the form
// of [EncodeObject]. A module of your own takes a folder below Local and encodes its
// values as it likes.
//
// # The one example
//
// A user of a Store lists, then watches from the revision that the list
// returned, and starts over when the watch ends:
//
//	for ctx.Err() == nil {
//		records, revision, err := store.List(ctx, meta.Down)
//		// ... take over records ...
//		changes, err := store.Watch(ctx, meta.Down, revision)
//		for events := range changes {
//			// ... follow ...
//		}
//	}
//
// # Snapshots and backups
//
// A [Snapshot] is the whole store at one revision. It is read in small pieces while
// the store goes on. [Backup] writes a Snapshot to a file, and [Restore] puts the
// file into an empty store of any implementation.
//
// # In step with the cloud
//
// A store that is new, restored, or that has lost something may lack objects that
// the cloud will still send. [Synced] reports whether the store was ever complete.
// Until then an absent object is no reason to stop a pod. When the cloud knows that
// a single object does not exist, it says so in the body of the deletion, see
// [NotFoundBody].
//
// # Order, delivery, durability
//
// A batch is applied whole or not at all. When Apply returns nil the batch is on
// the disk; Get, List and Watch do not show it before. Each batch gets a revision
// that is larger than all earlier ones, also across restarts. Revisions may skip
// numbers. A watcher gets every change after its revision once and in revision
// order, or its watch ends.
//
// # Limits
//
// Keys are 1 to [MaxKey] bytes, values up to [MaxValue], batches up to
// [MaxBatch]; beyond that Apply fails with [ErrTooLarge]. [CheckOps] is the
// check that every Store applies. A key may hold any byte.
//
// # A disk that fails
//
// When the disk is full or read-only, Apply fails with an error that wraps
// syscall.ENOSPC or syscall.EROFS. Reads still work, and writes work again when the
// disk does. After a write that may or may not have reached the disk (a failed
// sync), every later write fails with [ErrFailed] until the store is opened again.
//
// # Concurrency and stability
//
// Several goroutines may call all methods of a Store at once. The stored form of an
// Object begins with a version byte: a program reads all forms that earlier
// releases wrote.
package meta
