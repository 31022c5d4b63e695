// Package sync has the pieces of a node's state in the cloud, down and up:
// several sources that look like one (Union), the encoding of objects (Encode),
// the notification of changes (Notifier), and a receiver that gives each report
// to the writer for its resource (Sink).
//
// It is imported as nodesync, beside the standard library's sync. Nothing here
// starts a goroutine that outlives the call that started it.
package sync
