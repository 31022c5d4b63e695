// Package queue is store and forward for pipelines: a bounded, durable queue between the steps
// and each sink, and the dead letters of each pipeline, on a meta.Store.
//
//	queues, err := queue.New(queue.Config{Store: store})
//	...
//	runner, err := pipeline.New(pipeline.Config{Queues: queues, Store: store, ...})
//
// # What is kept
//
// Events that the engine stages are in the store before their source acknowledges them, and
// leave it when their sink has them: at least once, with the same ids. What was sent is noted
// up to a quarter of a second later; a kill sends so much again. The size of a queue on the
// disk is bounded by queue.maxSize. When it is full, the oldest events make room (DropOldest),
// the new ones are dropped (DropNewest), or Stage waits, and with it the sources of the
// pipeline (Block). What waits longer than queue.maxAge is dropped, but for what was stored
// before the machine's clock was set: nobody knows how old that is. All of that is counted. A
// queue needs memory for one batch and some numbers, however much waits: it is read from the
// store as it is sent.
//
// # Order: live before backlog
//
// Events go out in the order in which they came. After an outage, which is a batch that had to
// be given twice or was with its sink for more than 10 seconds, and after a restart, what waits
// is the backlog: for each batch of it, queue.live batches of newer events are sent, 4 if
// nothing is said; when nothing new comes, the backlog has the sink for itself. Within each of
// the two the order is kept. Events of the backlog, and what is given a second time, have
// Event.Resend set.
//
// # Replay
//
// With a time to keep them, sent events stay in the store as far as there is room; they are the
// first to go. ReplaySent has those of a time sent again.
//
// # Damage
//
// Each record has a checksum. A record that is torn or changed is moved aside (at most 256 for
// each queue), logged and counted, and its neighbours are sent. A damaged state of a queue is
// made anew from the records: then all of them are sent, some for the second time. A store
// whose files are damaged is the business of meta/badgerstore, which sets it aside and goes on
// with an empty one.
//
// # Dead letters
//
// An event that a step or sink refuses is kept with the reason: at most 10,000 and 16 MiB for
// each pipeline, of which the oldest make room. They can be looked at, dropped, and those of
// sinks replayed.
//
// # Concurrency and stability
//
// All methods of Queues may be called by several goroutines at once. Of a queue, one goroutine
// takes and removes; others may do the rest. Records begin with a byte for their version: a
// program reads those of earlier releases.
package queue
