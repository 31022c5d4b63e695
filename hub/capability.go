package hub

import (
	"fmt"
	"slices"
	"strings"
)

// Capabilities are what a peer can do beyond its protocol version. Each side
// names its own in the handshake, and what both have is used; so a peer of an
// earlier release works on with what it knows. Those of hub itself begin with
// hubPrefix.
const (
	hubPrefix  = "hub."
	capEvents  = "hub.events"  // the event class
	capBatch   = "hub.batch"   // compressed batches
	capOpening = "hub.opening" // streams are announced
)

// offers gives the names for the handshake: hub's own and the program's.
func offers(program []string) []string {
	return append([]string{capEvents, capBatch, capOpening}, program...)
}

// maxCapabilities bounds what a program may add, so that a hello stays within
// its frame.
const maxCapabilities = 4 << 10

func checkCapabilities(program []string) error {
	size := 0
	for _, c := range program {
		if strings.HasPrefix(c, hubPrefix) {
			return fmt.Errorf("%q: names that begin with %q are hub's own", c, hubPrefix)
		}
		size += len(c)
	}
	if size > maxCapabilities {
		return fmt.Errorf("they have %d bytes, the limit is %d", size, maxCapabilities)
	}
	return nil
}

// negotiate leaves out what the peer cannot do.
func (cfg *sessionConfig) negotiate(peer []string) {
	cfg.batches = slices.Contains(peer, capBatch)
	cfg.announced = slices.Contains(peer, capOpening)
	if slices.Contains(peer, capEvents) {
		return
	}
	if cfg.outbox != nil {
		cfg.log.Warn("peer is of a release that knows of no events: they stay in the outbox")
	}
	cfg.outbox, cfg.inbox = nil, nil
}
