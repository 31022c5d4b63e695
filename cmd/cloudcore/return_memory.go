package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// setGCPercent runs the garbage collector when the heap has grown by 18 %. Most memory of a
// server with many nodes lives long, so Go's default of 100 % would only waste memory. GOGC
// has precedence.
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

// burst decides when memory is returned to the kernel. A node that connects needs about 6 KiB
// more than it needs later, and Go's runtime keeps that for the next node.
type burst struct {
	seen    uint64 // handshakes at the last look
	pending bool   // a burst since memory was last returned
}

// step receives the number of handshakes so far and reports whether a burst has ended since
// the last call.
func (b *burst) step(handshakes uint64) bool {
	many := handshakes-b.seen >= burstNodes
	ended := b.pending && !many
	b.seen, b.pending = handshakes, many || b.pending && !ended
	return ended
}

// returnMemory returns unused memory to the kernel after each burst of connecting nodes,
// until ctx ends.
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
