package hub

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The protocol versions that this program speaks. A version is raised when an
// old peer could not simply skip what is new.
const (
	protocolMin = 1
	protocolMax = 1
)

// frame is one unit of the wire: a field of message Frame in hub.proto.
type frame interface {
	// number is the frame's field in message Frame.
	number() protowire.Number
	// size is the length of what fields appends.
	size() int
	// fields appends the fields of the frame's own message.
	fields(b []byte) []byte
}

type (
	// hello opens a session; the edge sends it first.
	hello struct {
		Min, Max     uint64 // protocol versions
		Node         string
		Instance     string
		Version      string
		Capabilities []string
		Keepalive    time.Duration // wish
		Limits       Limits        // only what the peer must know: MaxFrame, Window, WindowBytes
		Dial         uint64        // counts this instance's connections, so that a late one is known
		Yield        bool          // this instance was fenced: it wants the node only if nobody else has it
	}
	// welcome accepts it.
	welcome struct {
		Version      uint64
		Epoch        uint64
		Keepalive    time.Duration // holds for both sides
		Limits       Limits
		Capabilities []string
		Previous     uint64 // epoch of the node's session before this one; 0 if not known
	}
	// goodbye refuses a hello or ends a session.
	goodbye struct {
		Kind  goodbyeKind
		Err   *Error
		Epoch uint64 // fenced: the epoch that won
	}
	// ping asks for a sign of life and tells what the last one took, 0 if it
	// is not known.
	ping struct {
		ID        uint64
		RoundTrip time.Duration
	}
	pong struct{ ID uint64 }
	// digest opens one direction of the state class: what the receiver holds.
	digest struct{ digestSum }
	// want asks the receiver for its versions, since the digests differ.
	want struct{}
	// versions is a part of the answer.
	versions struct {
		Entries []entry
		Last    bool
	}
	// put carries one object.
	put struct {
		Seq     uint64
		Message Message
	}
	// ack says that all objects up to Seq are durable or were nacked.
	ack struct{ Seq uint64 }
	// nack gives one object back; a final error drops it.
	nack struct {
		Seq uint64
		Err *Error
	}
	// fragment is a piece of a frame that is too large to delay others.
	fragment struct {
		Data []byte
		Last bool
	}
	// cancel ends the peer's work on the call or stream with that id.
	cancel struct{ ID uint64 }
	// open is the first frame on a stream of its own.
	open struct {
		Class   class
		Timeout time.Duration // 0 for none
		Message Message
	}
	// response answers a call.
	response struct{ Message Message }
	// marks opens one direction of the event class: what the receiver has. Those
	// that follow are acknowledgements.
	marks struct {
		Entries []mark
		Last    bool // of the first ones
	}
	// event carries one event.
	event struct{ Event }
	// refusal gives an event back for good; a mark follows.
	refusal struct {
		Source string
		ID     uint64
		Err    *Error
	}
	// batch is several frames, each with its length before it, compressed.
	batch struct {
		Raw  uint64 // bytes when unpacked
		Data []byte // DEFLATE; of the reader's buffer when it was parsed
	}
	// opening says that so many streams are being opened.
	opening struct{ Count uint64 }
)

// class is the class of delivery that a stream is opened for.
type class uint64

const (
	classCall class = iota + 1
	classStream
)

// String gives the class as it stands in errors.
func (c class) String() string {
	if c == classStream {
		return "stream"
	}
	return "call"
}

type goodbyeKind uint64

const (
	goodbyeRefused  goodbyeKind = iota + 1 // the hello is refused, Err says why
	goodbyeEnded                           // the peer ends the session, Err says why
	goodbyeDrain                           // the server stops: connect again, elsewhere
	goodbyeFenced                          // another instance took over
	goodbyeReplaced                        // a newer connection of the same instance took over
	goodbyeStopped                         // the edge stops
)

// String gives the reason as it stands in Info.Reason.
func (k goodbyeKind) String() string {
	switch k {
	case goodbyeRefused:
		return "refused"
	case goodbyeDrain:
		return "server is stopping"
	case goodbyeFenced:
		return "taken over by another instance"
	case goodbyeReplaced:
		return "replaced by a newer connection"
	case goodbyeStopped:
		return "edge is stopping"
	default:
		return "ended by the peer"
	}
}

// Field numbers of message Frame.
const (
	numHello protowire.Number = iota + 1
	numWelcome
	numGoodbye
	numPing
	numPong
	numDigest
	numWant
	numVersions
	numPut
	numAck
	numNack
	numFragment
	numCancel
	numOpen
	numResponse
	numMarks
	numEvent
	numRefusal
	numBatch
	numOpening
)

func (hello) number() protowire.Number    { return numHello }
func (welcome) number() protowire.Number  { return numWelcome }
func (goodbye) number() protowire.Number  { return numGoodbye }
func (ping) number() protowire.Number     { return numPing }
func (pong) number() protowire.Number     { return numPong }
func (digest) number() protowire.Number   { return numDigest }
func (want) number() protowire.Number     { return numWant }
func (versions) number() protowire.Number { return numVersions }
func (put) number() protowire.Number      { return numPut }
func (ack) number() protowire.Number      { return numAck }
func (nack) number() protowire.Number     { return numNack }
func (fragment) number() protowire.Number { return numFragment }
func (cancel) number() protowire.Number   { return numCancel }
func (open) number() protowire.Number     { return numOpen }
func (response) number() protowire.Number { return numResponse }
func (marks) number() protowire.Number    { return numMarks }
func (event) number() protowire.Number    { return numEvent }
func (refusal) number() protowire.Number  { return numRefusal }
func (batch) number() protowire.Number    { return numBatch }
func (opening) number() protowire.Number  { return numOpening }
