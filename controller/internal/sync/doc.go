// Package sync has the pieces of which a node's two mirrors in the cloud are
// made: several sources that look like one (Union), objects as they travel
// (Encode), the notification of changes (Notifier), and a receiver that hands
// each report to the writer for its resource (Sink).
//
// Nothing here starts a goroutine that outlives the call that started it.
package sync
