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

// Seat is who holds a node. A server remembers the seats of its own nodes;
// several servers of one cloud share them through Node.Claim, which stores a
// Seat without looking into it, for example as JSON.
type Seat struct {
	Epoch    uint64   `json:"epoch"`            // of the newest session
	Instance string   `json:"instance"`         // the program that has it; empty if none
	Dial     uint64   `json:"dial"`             // the program's count of its connections
	Fenced   []string `json:"fenced,omitempty"` // instances that lost, oldest first
}

// claim is what an edge brings to the door.
type claim struct {
	Instance string
	Dial     uint64
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
func (s Seat) take(c claim, now uint64) (Seat, verdict) {
	if slices.Contains(s.Fenced, c.Instance) {
		return s, seatFenced
	}
	v := seatFree
	switch {
	case s.Instance == "":
	case s.Instance != c.Instance:
		v = seatFence
		s.Fenced = append(slices.Clone(s.Fenced), s.Instance)
		s.Fenced = s.Fenced[max(0, len(s.Fenced)-maxFenced):]
	case c.Dial <= s.Dial:
		return s, seatStale
	default:
		v = seatReplace
	}
	s.Instance, s.Dial = c.Instance, c.Dial
	s.Epoch = max(s.Epoch+1, now)
	return s, v
}

// leave frees the seat if it is still held under epoch; a late end of an older
// session changes nothing.
func (s Seat) leave(epoch uint64) Seat {
	if s.Epoch == epoch {
		s.Instance, s.Dial = "", 0
	}
	return s
}

// yield decides about a seat that all servers share and that this server is to
// take over as its own: it must be newer than what is known here.
func (s Seat) yield(shared Seat) (Seat, verdict) {
	switch {
	case shared.Epoch <= s.Epoch:
		return s, seatStale
	case s.Instance == "":
		return shared, seatFree
	case s.Instance != shared.Instance:
		return shared, seatFence
	}
	return shared, seatReplace
}

// fencedRefusal refuses an instance that was fenced.
type fencedRefusal struct{ epoch uint64 }

func (e *fencedRefusal) Error() string { return "hub: instance was fenced" }
