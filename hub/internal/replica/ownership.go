package replica

import (
	"fmt"
	"slices"
	"time"
)

// The fencing rule as a pure function. A node has at most one session. A new
// session of the same instance replaces the old one, whose connection is then
// most likely dead and only not yet noticed. A session of another instance
// fences the old one: that program is told, and whether or not it hears it, it
// is not let in while another has the node. It asks rarely whether that is so
// still, and is let in when nobody has had a session for a while. So two live
// programs with one identity meet once, and one of them waits.

const (
	// maxFenced is how many fenced instances are remembered for each node.
	maxFenced = 8
)

// Claim is who holds a node. A server remembers the claims of its own nodes;
// several servers of one cloud share them through Node.Claim, which stores a
// Claim without looking into it, for example as JSON.
type Claim struct {
	Epoch    uint64   `json:"epoch"`             // of the newest session
	Instance string   `json:"instance"`          // the program that has it, or had it last; empty if none
	Address  string   `json:"address,omitempty"` // from which that program connected, for humans
	Dial     uint64   `json:"dial"`              // the program's count of its connections
	Fenced   []string `json:"fenced,omitempty"`  // instances that lost, oldest first
	// EndedAt is since when the node has had no session at any server, in
	// microseconds since 1970; 0 while it has one or that is not known. What is
	// not above Epoch is of an earlier session and counts for nothing. A claim that
	// servers share is stored without it: Node.Claim sets it, if it knows, before
	// it has a claim decided.
	EndedAt uint64 `json:"-"`
}

// Request is what an edge asks for in its hello.
type Request struct {
	Instance string
	Dial     uint64
	Yield    bool   // it was fenced: it wants the node only if nobody else has it
	Address  string // from which it comes
}

type Verdict uint8

const (
	ClaimFree     Verdict = iota // nobody held it
	ClaimReplaces                // the same instance held it
	ClaimFences                  // another instance held it and is fenced
	ClaimFenced                  // refused: this instance was fenced, and another has the node
	ClaimStale                   // refused: a newer connection of this instance stands
)

// Rules is what decides about a claim besides the claim and the claim.
type Rules struct {
	Now          uint64        // in microseconds since 1970
	ReleaseAfter time.Duration // how long nobody must have had the node until a fenced instance is let in
}

// take decides about a claim. The epoch grows with the clock, so that it also
// grows over restarts of the server.
func Decide(s Claim, c Request, f Rules) (Claim, Verdict) {
	if WasFenced(s, c) {
		if HeldFor(s, c, f) > 0 {
			return s, ClaimFenced
		}
		s.Fenced = slices.DeleteFunc(slices.Clone(s.Fenced), func(i string) bool { return i == c.Instance })
	}
	v := ClaimFree
	switch {
	case s.Instance == "":
	case s.Instance != c.Instance:
		if !ended(s) {
			v = ClaimFences
		}
		s.Fenced = append(slices.Clone(s.Fenced), s.Instance)
		s.Fenced = s.Fenced[max(0, len(s.Fenced)-maxFenced):]
	case ended(s):
	case c.Dial <= s.Dial:
		return s, ClaimStale
	default:
		v = ClaimReplaces
	}
	s.Instance, s.Address, s.Dial, s.EndedAt = c.Instance, c.Address, c.Dial, 0
	s.Epoch = max(s.Epoch+1, f.Now)
	return s, v
}

// fences reports that the claim is of an instance that was fenced, by its own
// word or by what is remembered.
func WasFenced(s Claim, c Request) bool { return c.Yield || slices.Contains(s.Fenced, c.Instance) }

// left reports that the newest session has ended.
func ended(s Claim) bool { return s.EndedAt > s.Epoch }

// HeldFor is how much longer the node is kept for another instance than that of
// the claim, at least; 0 when it is free.
func HeldFor(s Claim, c Request, f Rules) time.Duration {
	switch {
	case s.Instance == c.Instance, s.Epoch == 0 && s.EndedAt == 0:
		return 0
	case !ended(s) || f.Now <= s.EndedAt:
		return f.ReleaseAfter
	}
	return max(0, f.ReleaseAfter-time.Duration(f.Now-s.EndedAt)*time.Microsecond)
}

// leave notes that the session of an epoch has ended; a late end of an older
// session changes nothing.
func EndSession(s Claim, epoch, now uint64) Claim {
	if s.Epoch == epoch {
		s.EndedAt = max(now, epoch+1)
	}
	return s
}

// yield decides about a claim that all servers share and that this server is to
// take over as its own: it must be newer than what is known here.
func Adopt(s Claim, shared Claim) (Claim, Verdict) {
	switch {
	case shared.Epoch <= s.Epoch:
		return s, ClaimStale
	case s.Instance == "", ended(s):
		return shared, ClaimFree
	case s.Instance != shared.Instance:
		return shared, ClaimFences
	}
	return shared, ClaimReplaces
}

// holder names the program that has the claim, for humans.
func HolderText(s Claim) string {
	if s.Address == "" {
		return fmt.Sprintf("instance %q", s.Instance)
	}
	return fmt.Sprintf("instance %q at %s", s.Instance, s.Address)
}
