package main

import "runtime/debug"

// limitMemory trades a little garbage collection for a small resident size:
// an agent that idles should not hold on to what its start-up needed.
func limitMemory(mib int64) {
	debug.SetGCPercent(50)
	if mib > 0 {
		debug.SetMemoryLimit(mib << 20)
	}
}
