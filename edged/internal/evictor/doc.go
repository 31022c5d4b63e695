// Package evictor measures a node every ten seconds and evicts pods from it when it is
// short of something, or when they use more local storage than they may. It is the
// driver of package eviction, which decides.
//
//	e, err := evictor.New(evictor.Config{Node: meter, Pods: agent, Thresholds: thresholds})
//	if err != nil {
//		return err
//	}
//	return e.Run(ctx)
//
// At rest a pass reads a few small files, asks the runtime for nothing, and walks no
// folder but those of pods that have a limit of local storage; package diskusage bounds
// how much of these. Only when a threshold is met is the usage of all pods read.
//
// A disk that hangs stops nothing else: files are read in a goroutine, of which there is
// one at most, and passes are left out while it waits.
//
// Pressures, Describe and Collect may be called by several goroutines; Prepare comes before
// Run.
package evictor
