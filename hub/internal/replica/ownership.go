package replica

import (
	"fmt"
	"slices"
	"time"
)

// The ownership rule as pure functions. A node has at most one session. A new session
// of the same instance replaces the old one, whose connection is most likely dead and
// not yet noticed. A session of another instance fences the old one: the server tells
// that program, and refuses it, whether or not it got the message, while another
// instance has the node. A fenced program asks every few minutes, and gets the node
// when nobody has had a session for a while. So two live programs with one identity
// collide once, and one of them waits.

// maxFenced is how many fenced instances are remembered for each node.
const maxFenced = 8

// Claim records who holds a node. A server remembers the claims of its own nodes;
// the servers of one cloud share them through Node.Claim, which stores a Claim
// without looking into it, for example as JSON.
type Claim struct {
	Epoch    uint64   `json:"epoch"`             // of the newest session
	Instance string   `json:"instance"`          // the program that has it, or had it last; empty if none
	Address  string   `json:"address,omitempty"` // from which that program connected, for humans
	Dial     uint64   `json:"dial"`              // the program's count of its connections
	Fenced   []string `json:"fenced,omitempty"`  // instances that lost, oldest first
	// Earlier are the instances of earlier runs of the program that has the node, as its
	// hello names them. They used the same store and have ended. Their hellos may still
	// arrive.
	Earlier []string `json:"earlier,omitempty"`
	// EndedAt is since when the node has had no session at any server, in microseconds
	// since 1970; 0 while it has one, or if that is not known. A value that is not above
	// Epoch belongs to an earlier session and is ignored. It is not stored with a claim
	// that servers share: Node.Claim sets it, if it knows, before it calls decide.
	EndedAt uint64 `json:"-"`
}

// Request is the part of an edge's hello that asks for the node.
type Request struct {
	Instance string
	Dial     uint64
	Yield    bool     // the program was fenced: it wants the node only if nobody else has it
	Address  string   // from which it connects
	Earlier  []string // instances of this program's earlier runs
}

// Verdict is the answer to a Request.
type Verdict uint8

// The verdicts.
const (
	ClaimFree     Verdict = iota // nobody held it
	ClaimReplaces                // the same instance held it
	ClaimFences                  // another instance held it and is fenced
	ClaimFenced                  // refused: this instance was fenced, and another has the node
	ClaimStale                   // refused: a newer connection of this instance stands
)

// Rules are what a decision depends on besides the claim and the request.
type Rules struct {
	Now          uint64        // in microseconds since 1970
	ReleaseAfter time.Duration // how long nobody must have had the node until a fenced instance gets it
}

// Decide applies a request to the claim on the node. The epoch grows with the clock,
// so that it also grows over restarts of the server.
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
	s.Earlier = slices.DeleteFunc(slices.Clone(c.Earlier), func(i string) bool { return i == c.Instance })
	s.Epoch = max(s.Epoch+1, f.Now)
	return s, v
}

// WasFenced reports whether the request comes from an instance that was fenced: it says
// so itself, or the claim remembers it. The earlier runs of the program that has the
// node count as fenced too: the hello of one that was killed can be read after that of
// the run which followed it.
func WasFenced(s Claim, c Request) bool {
	return c.Yield || slices.Contains(s.Fenced, c.Instance) || slices.Contains(s.Earlier, c.Instance)
}

// IsLate reports whether the request is the late hello of a run that has ended: of an
// earlier run of the program that has the node, which does not know that it was fenced.
func IsLate(s Claim, c Request) bool { return !c.Yield && slices.Contains(s.Earlier, c.Instance) }

// ended reports whether the newest session has ended.
func ended(s Claim) bool { return s.EndedAt > s.Epoch }

// HeldFor is for how much longer, at least, the node is kept for another instance than
// the one that asks; 0 when it is free.
func HeldFor(s Claim, c Request, f Rules) time.Duration {
	switch {
	case s.Instance == c.Instance, s.Epoch == 0 && s.EndedAt == 0:
		return 0
	case !ended(s) || f.Now <= s.EndedAt:
		return f.ReleaseAfter
	}
	return max(0, f.ReleaseAfter-time.Duration(f.Now-s.EndedAt)*time.Microsecond)
}

// EndSession records that the session of an epoch has ended. The late end of an older
// session changes nothing.
func EndSession(s Claim, epoch, now uint64) Claim {
	if s.Epoch == epoch {
		s.EndedAt = max(now, epoch+1)
	}
	return s
}

// Adopt replaces this server's claim by the one that all servers share, which must be
// newer.
func Adopt(s, shared Claim) (Claim, Verdict) {
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

// HolderText names the program that has the node, for humans.
func HolderText(s Claim) string {
	if s.Address == "" {
		return fmt.Sprintf("instance %q", s.Instance)
	}
	return fmt.Sprintf("instance %q at %s", s.Instance, s.Address)
}
