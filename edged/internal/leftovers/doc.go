// Package leftovers finds what is on a node for pods that are not the node's: in the runtime, and
// on the disk what a crash can leave there. It does what a kubelet does in HandlePodCleanups and
// in its container GC, but it removes nothing of a pod: its caller ends the orphans that it finds.
//
//	f := leftovers.New(leftovers.Config{NodeName: "gate-7", Runtime: runtime, ...})
//	found, err := f.Scan(ctx)
//	orphans, links := f.Orphans(found, owned, time.Now())
//
// Only Scan and RemoveLinks read or change anything. A Finder may be used by several goroutines.
package leftovers
