package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// collectOften has the garbage collector run when the heap has grown by 18 %:
// what a server of many nodes holds lives long, and is not worth doubling. The
// operator's GOGC goes before.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(18)
	}
}

const (
	// settleEvery is how often it is looked whether a herd has come and settled.
	settleEvery = time.Minute
	// herd is how many nodes that come within settleEvery are one.
	herd = 100
)

// settling tells when memory is to be given back: nodes that come take more than
// they keep, some 6 KiB each, which the runtime holds ready for more of them.
type settling struct {
	seen uint64 // handshakes at the last look
	came bool   // a herd, since memory was given back last
}

// step says, with the handshakes so far, whether a herd has come and settled.
func (s *settling) step(handshakes uint64) bool {
	many := handshakes-s.seen >= herd
	settled := s.came && !many
	s.seen, s.came = handshakes, many || s.came && !settled
	return settled
}

// giveBack gives the kernel the memory that a herd has left, once it has settled,
// until ctx ends.
func giveBack(ctx context.Context, nodes *hub.Server) error {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	var s settling
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
		if s.step(handshakes) {
			debug.FreeOSMemory()
		}
	}
}
