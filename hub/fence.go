package hub

import "slices"

// The fencing rule as a pure function. A node has at most one session. A new
// session of the same instance replaces the old one, whose connection is then
// most likely dead and only not yet noticed. A session of another instance
// fences the old one: that program is told, and whether or not it hears it, it
// is never let in again. So two live programs with one identity meet once, and
// one of them stops.

// maxFenced is how many fenced instances are remembered for each node.
const maxFenced = 8

// claim is what an edge brings to the door.
type claim struct {
	Instance string
	Dial     uint64
}

// seat is what a server remembers of a node.
type seat struct {
	Holder claim // of the session that holds the node now; empty if none
	Epoch  uint64
	Fenced []string // instances that lost, oldest first
}

type verdict uint8

const (
	seatFree    verdict = iota // nobody held it
	seatReplace                // the same instance held it
	seatFence                  // another instance held it and is fenced
	seatFenced                 // refused: this instance was fenced
	seatStale                  // refused: a newer connection of this instance stands
)

// take decides about a claim made at the time now, in microseconds. The epoch
// grows with the clock, so that it also grows over restarts of the server.
func (s seat) take(c claim, now uint64) (seat, verdict) {
	if slices.Contains(s.Fenced, c.Instance) {
		return s, seatFenced
	}
	v := seatFree
	switch {
	case s.Holder.Instance == "":
	case s.Holder.Instance != c.Instance:
		v = seatFence
		s.Fenced = append(slices.Clone(s.Fenced), s.Holder.Instance)
		s.Fenced = s.Fenced[max(0, len(s.Fenced)-maxFenced):]
	case c.Dial <= s.Holder.Dial:
		return s, seatStale
	default:
		v = seatReplace
	}
	s.Holder = c
	s.Epoch = max(s.Epoch+1, now)
	return s, v
}

// leave frees the seat if it is still held under epoch; a late end of an older
// session changes nothing.
func (s seat) leave(epoch uint64) seat {
	if s.Epoch == epoch {
		s.Holder = claim{}
	}
	return s
}

// fencedRefusal refuses an instance that was fenced.
type fencedRefusal struct{ epoch uint64 }

func (e *fencedRefusal) Error() string { return "hub: instance was fenced" }
