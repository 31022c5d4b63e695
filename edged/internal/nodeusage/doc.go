// Package nodeusage measures how much of a machine is left: memory, room and inodes of
// its file systems, process ids. It is what package eviction decides by.
//
//	meter := nodeusage.New(nodeusage.Config{Root: "/var/lib/edgekit/pods"})
//	r := meter.Read(ctx) // r.Seen[eviction.MemoryAvailable] and others
//
// A Meter belongs to one goroutine. A call hangs for as long as a disk does that it asks.
package nodeusage
