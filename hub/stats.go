package hub

import (
	"crypto/tls"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// Class is a class of delivery, as Stats count by it.
type Class string

// The classes. ClassControl is the link's own traffic: keepalives and the ends of sessions. Handshakes are counted
// separately.
const (
	ClassControl Class = "control"
	ClassState   Class = "state"
	ClassEvent   Class = "event"
	ClassCall    Class = "call"
	ClassStream  Class = "stream"
)

// HandshakeResult is how a handshake ended.
type HandshakeResult string

// The results. All but HandshakeOK and HandshakeLost are logged with the
// peer's address and, once it is proven, its node name.
const (
	HandshakeOK          HandshakeResult = "ok"
	HandshakeGarbage     HandshakeResult = "garbage"     // what came first was no hello
	HandshakeVersion     HandshakeResult = "version"     // no protocol version in common
	HandshakeIdentity    HandshakeResult = "identity"    // no proven name, or another than in the hello
	HandshakeInvalid     HandshakeResult = "invalid"     // a hello with impossible values
	HandshakeRate        HandshakeResult = "rate"        // too many at the same time: it was asked to come back later
	HandshakeFull        HandshakeResult = "full"        // the limit on nodes is reached
	HandshakeFenced      HandshakeResult = "fenced"      // this program lost the node to another
	HandshakeStale       HandshakeResult = "stale"       // a newer connection of this program has the session
	HandshakeRefused     HandshakeResult = "refused"     // the Directory refused it, or on the edge the server
	HandshakeCertificate HandshakeResult = "certificate" // on the edge: the server's certificate is not trusted
	HandshakeLost        HandshakeResult = "lost"        // the connection was lost, was slow, or sent nothing
)

// EndReason is how a session ended.
type EndReason string

// The reasons. For a peer that ended it they are the same as for this side.
const (
	EndStopped      EndReason = "stopped"      // the edge stopped
	EndDrained      EndReason = "drained"      // the server stopped
	EndReplaced     EndReason = "replaced"     // a newer connection of the same program
	EndFenced       EndReason = "fenced"       // another program with the same identity
	EndDisconnected EndReason = "disconnected" // by Server.Disconnect
	EndSilent       EndReason = "silent"       // nothing arrived from the peer for too long
	EndViolation    EndReason = "violation"    // the peer violated the protocol
	EndLost         EndReason = "lost"         // the connection was lost
	EndFailed       EndReason = "failed"       // this side's Source, Sink, Outbox or Inbox failed
)

// DropReason is why an object or event was dropped.
type DropReason string

// The reasons.
const (
	DropTooLarge   DropReason = "too_large"  // larger than both sides accept
	DropRefused    DropReason = "refused"    // the receiver refused it for good
	DropRepeated   DropReason = "repeated"   // an event that came before
	DropUnreadable DropReason = "unreadable" // more sources than the limit
)

// Drop is a kind of drop.
type Drop struct {
	Class  Class // ClassState or ClassEvent
	Reason DropReason
}

// Traffic counts messages and their bytes, without the transport's own. A
// stream's messages are its openings; its bytes are payload.
type Traffic struct {
	Messages, Bytes uint64
}

// Stats are the counts of a Server for all its nodes, or of a Client for its own, since it was made. Package
// hub/metrics exports them to Prometheus. The maps belong to the caller and hold the values that are not zero.
type Stats struct {
	Sessions   map[string]int     // that stand now, by transport
	Backlog    map[string]Backlog // connections that are no sessions yet, by transport, if the Listener reports it
	Handshakes map[HandshakeResult]uint64
	Ended      map[EndReason]uint64 // sessions

	Sent, Received map[Class]Traffic
	// Queued is how many objects and events are to be sent or are on their way
	// now, Acked how many the peers have made durable, Retried how often one
	// could not be read, applied or sent at once.
	Queued  map[Class]int
	Acked   map[Class]uint64
	Retried map[Class]uint64
	Dropped map[Drop]uint64

	// Behind counts how often the owner's version of an object stayed older than the peer's for some seconds:
	// nothing is sent then until the owner's versions have grown. EventsPresumed counts events that were not
	// sent because the peer said that it has them; see Event.Source.
	Behind         uint64
	EventsPresumed uint64

	ResyncsEqual  uint64 // comparisons in which the digests were the same
	ResyncsListed uint64 // and in which the versions had to be listed

	// Fenced is set on a Client while another program has the node.
	Fenced bool

	RoundTrip Histogram // as measured by the edge's pings
}

// Histogram counts durations.
type Histogram struct {
	Bounds []time.Duration // upper, included; the last count is of what is longer
	Counts []uint64        // one more than Bounds
	Sum    time.Duration
}

const numBounds = 8

// roundTripBounds cover loopback to satellites.
func roundTripBounds() [numBounds]time.Duration {
	ms := time.Millisecond
	return [...]time.Duration{ms, 5 * ms, 20 * ms, 50 * ms, 100 * ms, 250 * ms, time.Second, 5 * time.Second}
}

// The classes as indexes.
const (
	ofControl = iota
	ofState
	ofEvent
	ofCall
	ofStream
	numClasses
)

func classes() [numClasses]Class {
	return [...]Class{ClassControl, ClassState, ClassEvent, ClassCall, ClassStream}
}

// classOf is the class that a frame is counted for.
func classOf(f wire.Frame) int {
	switch f := f.(type) {
	case wire.Digest, wire.Want, wire.Versions, wire.Put, wire.Ack, wire.Nack:
		return ofState
	case wire.Marks, wire.Event, wire.Refusal:
		return ofEvent
	case wire.Response:
		return ofCall
	case wire.Open:
		if f.Class == wire.ClassStream {
			return ofStream
		}
		return ofCall
	}
	return ofControl
}

// flow is one direction of the traffic.
type flow [numClasses]struct{ messages, bytes atomic.Uint64 }

func (f *flow) add(class, messages, bytes int) {
	f[class].messages.Add(uint64(messages))
	f[class].bytes.Add(uint64(bytes))
}

func (f *flow) read() map[Class]Traffic {
	out := make(map[Class]Traffic)
	for i, class := range classes() {
		if t := (Traffic{f[i].messages.Load(), f[i].bytes.Load()}); t != (Traffic{}) {
			out[class] = t
		}
	}
	return out
}

// counters are the Stats of a Server or Client while they grow, shared by all
// its sessions.
type counters struct {
	sent, received flow
	queued         [numClasses]atomic.Int64
	clock          cloudClock // on an edge
	acked, retried [numClasses]atomic.Uint64
	equal, listed  atomic.Uint64
	behind         atomic.Uint64
	presumed       atomic.Uint64
	roundTrips     [numBounds + 1]atomic.Uint64
	roundTripSum   atomic.Int64

	mu         sync.Mutex
	sessions   map[string]int
	handshakes map[HandshakeResult]uint64
	ended      map[EndReason]uint64
	dropped    map[Drop]uint64
}

func newCounters() *counters {
	return &counters{
		sessions: make(map[string]int), handshakes: make(map[HandshakeResult]uint64),
		ended: make(map[EndReason]uint64), dropped: make(map[Drop]uint64),
	}
}

func (c *counters) read() Stats {
	bounds := roundTripBounds()
	s := Stats{
		Sent: c.sent.read(), Received: c.received.read(),
		Queued: make(map[Class]int), Acked: make(map[Class]uint64), Retried: make(map[Class]uint64),
		ResyncsEqual: c.equal.Load(), ResyncsListed: c.listed.Load(),
		Behind: c.behind.Load(), EventsPresumed: c.presumed.Load(),
		RoundTrip: Histogram{Bounds: bounds[:], Sum: time.Duration(c.roundTripSum.Load())},
	}
	for i, class := range classes() {
		if n := c.queued[i].Load(); n != 0 {
			s.Queued[class] = int(n)
		}
		if n := c.acked[i].Load(); n != 0 {
			s.Acked[class] = n
		}
		if n := c.retried[i].Load(); n != 0 {
			s.Retried[class] = n
		}
	}
	for i := range c.roundTrips {
		s.RoundTrip.Counts = append(s.RoundTrip.Counts, c.roundTrips[i].Load())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Sessions, s.Handshakes = maps.Clone(c.sessions), maps.Clone(c.handshakes)
	s.Ended, s.Dropped = maps.Clone(c.ended), maps.Clone(c.dropped)
	return s
}

func (c *counters) handshake(r HandshakeResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handshakes[r]++
}

// sessionBegan and sessionEnded count a session.
func (c *counters) sessionBegan(transport string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handshakes[HandshakeOK]++
	c.sessions[transport]++
}

func (c *counters) sessionEnded(transport string, reason EndReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended[reason]++
	if c.sessions[transport]--; c.sessions[transport] == 0 {
		delete(c.sessions, transport)
	}
}

func (c *counters) roundTrip(d time.Duration) {
	bounds := roundTripBounds()
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	c.roundTrips[i].Add(1)
	c.roundTripSum.Add(int64(d))
}

// failed counts what went wrong with one object or event: it is dropped, or
// tried again.
func (c *counters) failed(class int, err error) {
	reason, dropped := dropReason(err)
	if !dropped {
		c.retried[class].Add(1)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped[Drop{classes()[class], reason}]++
}

func dropReason(err error) (DropReason, bool) {
	e, typed := errors.AsType[*Error](err)
	switch {
	case errors.Is(err, ErrTooLarge):
		return DropTooLarge, true
	case errors.Is(err, replica.ErrRepeated):
		return DropRepeated, true
	case errors.Is(err, replica.ErrSources):
		return DropUnreadable, true
	case typed && e.Final():
		return DropRefused, true
	}
	return "", false
}

// endReason classifies the error of a session's run.
func endReason(err error) EndReason {
	p, here := errors.AsType[*closedHere](err)
	f, closed := errors.AsType[*closedByPeer](err)
	var reason wire.GoAway
	if here {
		reason = p.goAway
	} else if closed {
		reason = f.goAway
	}
	switch reason.Kind {
	case wire.GoAwayDrain:
		return EndDrained
	case wire.GoAwayFenced:
		return EndFenced
	case wire.GoAwayReplaced:
		return EndReplaced
	case wire.GoAwayStopped:
		return EndStopped
	case wire.GoAwayEnded, wire.GoAwayRefused:
		if reason.Err != nil && reason.Err.Code == CodeInvalid { // as read says it
			return EndViolation
		}
		return EndDisconnected
	}
	switch {
	case errors.Is(err, ErrProtocol):
		return EndViolation
	case errors.Is(err, errSilent):
		return EndSilent
	case errors.Is(err, errLost):
		return EndLost
	}
	return EndFailed
}

// rejected is a handshake that was refused, with the result that it counts
// as.
type rejected struct {
	result HandshakeResult
	err    *Error
}

func (e *rejected) Error() string { return e.err.Error() }
func (e *rejected) Unwrap() error { return e.err }

// handshakeResult classifies the failure of a handshake.
func handshakeResult(err error) HandshakeResult {
	if t, ok := errors.AsType[*rejected](err); ok {
		return t.result
	}
	f, closed := errors.AsType[*closedByPeer](err)
	_, fenced := errors.AsType[*fencedError](err)
	_, typed := errors.AsType[*Error](err)
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case unverified:
		return HandshakeCertificate
	case fenced, closed && f.goAway.Kind == wire.GoAwayFenced:
		return HandshakeFenced
	case errors.Is(err, ErrProtocol):
		return HandshakeGarbage
	case closed, typed:
		return HandshakeRefused
	}
	return HandshakeLost
}
