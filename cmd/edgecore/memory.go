package main

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"
)

const (
	trimAfter = 30 * time.Second // the start is over by then
	trimEvery = 2 * time.Minute
)

// limitMemory trades a little garbage collection for a small resident size:
// an agent that idles should not hold on to what its start-up needed.
func limitMemory(mib int64) {
	debug.SetGCPercent(50)
	if mib > 0 {
		debug.SetMemoryLimit(mib << 20)
	}
}

// trimMemory gives back, after the start and then now and again, what the agent
// does not use: free heap, and the pages of its own program. Most of those were read
// by the start only, yet they count as the agent's memory, also in its cgroup. They
// stay in the page cache; the kernel can now drop them first.
func trimMemory(log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(trimAfter)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
			debug.FreeOSMemory()
			if err := unmapProgram(); err != nil {
				log.Debug("the pages of the program stay mapped", "err", err)
			}
			timer.Reset(trimEvery)
		}
	}
}
