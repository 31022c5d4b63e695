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
// Two joiners build on the contract. meta/manager is MetaManager: it receives
// what the cloud says, answers queries while offline, and keeps the outbox of
// reports. meta/kube is the typed face that the pod agent uses.
//
// # Areas
//
// By convention keys are paths, and the first element is an area; a Store does not
// check that. The areas are [Down] for what the cloud
// says, [Up] for what this node reports, [Acked] for how much of that has
// arrived, [Events] for what happened here lately, and [Local] for the rest. In
// Down, Up and Events a key is the area followed
// by [Key.Path], and the value is an [Object] in the form that [EncodeObject]
// makes. Who adds a module of their own takes a folder under Local and encodes
// values as they like.
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
// A [Snapshot] is everything at one revision, to be read in small pieces while
// the store goes on. [Backup] writes one to a file, and [Restore] puts it into
// an empty store, of any implementation.
//
// # In step with the cloud
//
// A store that is new, restored, or that has lost something may lack objects
// that the cloud will still send. [Synced] tells whether it has ever been whole:
// until then nothing is ended because it is absent. Of a single object the cloud
// says that it does not exist by the body of its deletion, [NotFoundBody].
//
// # Order, delivery, durability
//
// A batch is there whole or not at all. When Apply returns nil the batch has
// reached the disk; nobody sees a batch, by Get, List or Watch, before that.
// Each batch gets a revision of its own, larger than all before it, also
// across restarts. Revisions may skip numbers. Watchers see every change after
// their revision in revision order, once, or are ended.
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
// syscall.ENOSPC or syscall.EROFS, reading goes on, and writing goes on by
// itself when there is room again. After a write of which nobody knows whether
// it reached the disk, all further ones fail with [ErrFailed] until the store is
// opened again.
//
// # Concurrency and stability
//
// All methods of a Store may be called by several goroutines at once. The
// stored form of an Object begins with a version byte: a program reads all
// forms that earlier releases wrote.
package meta
