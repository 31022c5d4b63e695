// Package feed is the watch half of a meta.Store, shared by the stores in this
// module: it remembers the newest batches in a bounded ring and lets any number
// of watchers follow.
//
// A store calls Publish for each batch once it is durable, in revision order.
// Each watcher is one goroutine that reads the ring at its own speed, so that
// watchers cost no memory for what they have not read. When the ring has moved
// past a watcher, that watcher is ended. Close ends and joins all of them.
package feed
