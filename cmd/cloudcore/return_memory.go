package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// setGCPercent has the garbage collector run when the heap has grown by 18 %.
// What a server of many nodes holds lives long: room for twice as much is
// wasted. GOGC, where the operator sets it, has precedence.
func setGCPercent() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(18)
	}
}

const (
	// settleInterval is the time between two looks at the number of handshakes.
	settleInterval = time.Minute
	// burstNodes is how many nodes must connect within settleInterval to count
	// as a burst.
	burstNodes = 100
)

// burst decides when memory is returned to the kernel. A node that connects
// takes some 6 KiB more than it keeps, and the runtime holds that ready for the
// next one.
type burst struct {
	seen    uint64 // handshakes at the last look
	pending bool   // a burst since memory was last returned
}

// step takes the number of handshakes so far and reports whether a burst has
// ended since the last call.
func (b *burst) step(handshakes uint64) bool {
	many := handshakes-b.seen >= burstNodes
	ended := b.pending && !many
	b.seen, b.pending = handshakes, many || b.pending && !ended
	return ended
}

// returnMemory returns to the kernel what a burst of connecting nodes has left
// unused, until ctx ends.
func returnMemory(ctx context.Context, nodes *hub.Server) error {
	tick := time.NewTicker(settleInterval)
	defer tick.Stop()
	var b burst
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		handshakes := uint64(0)
		for _, n := range nodes.Stats().Handshakes {
			handshakes += n
		}
		if b.step(handshakes) {
			debug.FreeOSMemory()
		}
	}
}
