package wire

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// The protocol versions that this program speaks. A version is raised when an
// old peer could not simply skip what is new.
const (
	ProtocolMin = 1
	ProtocolMax = 1
)

// Frame is one unit of the wire: a field of message Frame in hub.proto.
type Frame interface {
	// number is the frame's field in message Frame.
	number() protowire.Number
	// size is the length of what fields appends.
	size() int
	// fields appends the fields of the frame's own message.
	fields(b []byte) []byte
}

type (
	// Hello opens a session; the edge sends it first.
	Hello struct {
		Min, Max     uint64 // protocol versions
		Node         string
		Instance     string
		Version      string
		Capabilities []string
		Keepalive    time.Duration  // that the edge asks for
		Limits       message.Limits // only what the peer must know: MaxFrame, Window, WindowBytes
		Dial         uint64         // counts this instance's connections, so that a late one is known
		Yield        bool           // this instance was fenced: it wants the node only if nobody else has it
		Earlier      []string       // instances of this program's earlier runs, newest first
	}
	// Welcome accepts it.
	Welcome struct {
		Version      uint64
		Epoch        uint64
		Keepalive    time.Duration // holds for both sides
		Limits       message.Limits
		Capabilities []string
		Previous     uint64 // epoch of the node's session before this one; 0 if not known
	}
	// GoAway refuses a hello or ends a session.
	GoAway struct {
		Kind  GoAwayKind
		Err   *message.Error
		Epoch uint64 // fenced: the epoch that won
	}
	// Ping asks for a Pong and says how long the last one took, 0 if that is not known. ID is
	// when it was sent by the edge's clock, in nanoseconds since 1970.
	Ping struct {
		ID        uint64
		RoundTrip time.Duration
	}
	// Pong answers a Ping. Now and then it has the time, in microseconds since 1970, by which
	// the edge knows how wrong its clock is; 0 is none.
	Pong struct{ ID, Time uint64 }
	// Digest opens one direction of the state class: what the receiver holds.
	Digest struct{ message.Digest }
	// Want asks the receiver for its versions, since the digests differ.
	Want struct{}
	// Versions is a part of the answer.
	Versions struct {
		Entries []message.Entry
		Last    bool
	}
	// Put carries one object.
	Put struct {
		Seq     uint64
		Message message.Message
		// Trace is a valid Traceparent; nil, as usual, for none: a pointer, so that a peer that
		// sends many small objects makes the decoder allocate no more than without the field.
		Trace *string
	}
	// Ack says that all objects up to Seq are durable or were nacked.
	Ack struct{ Seq uint64 }
	// Nack gives one object back; a final error drops it.
	Nack struct {
		Seq uint64
		Err *message.Error
	}
	// Fragment is a piece of a large frame, which as a whole would delay others.
	Fragment struct {
		Data []byte
		Last bool
	}
	// Cancel ends the peer's work on the call or stream with that id.
	Cancel struct{ ID uint64 }
	// Open is the first frame on a stream of its own.
	Open struct {
		Class   Class
		Timeout time.Duration // 0 for none
		Message message.Message
	}
	// Response answers a call.
	Response struct{ Message message.Message }
	// Marks opens one direction of the event class: the newest events that the receiver
	// has. Later frames of marks are acknowledgements.
	Marks struct {
		Entries []message.Mark
		Last    bool // of the first ones
	}
	// Event carries one event.
	Event struct{ message.Event }
	// Refusal gives an event back for good; a mark follows.
	Refusal struct {
		Source string
		ID     uint64
		Err    *message.Error
	}
	// Batch is several frames, each with its length before it, compressed.
	Batch struct {
		Raw  uint64 // bytes when unpacked
		Data []byte // DEFLATE; of the reader's buffer when it was parsed
	}
	// Opening says that so many streams are being opened.
	Opening struct{ Count uint64 }
)

// Class is the class of delivery that a stream is opened for.
type Class uint64

// The classes.
const (
	ClassCall Class = iota + 1
	ClassStream
)

// String returns the class as it stands in errors.
func (c Class) String() string {
	if c == ClassStream {
		return "stream"
	}
	return "call"
}

// GoAwayKind says why a session ends or is refused.
type GoAwayKind uint64

// The kinds.
const (
	GoAwayRefused  GoAwayKind = iota + 1 // the hello is refused, Err says why
	GoAwayEnded                          // the peer ends the session, Err says why
	GoAwayDrain                          // the server stops: connect again, elsewhere
	GoAwayFenced                         // another instance took over
	GoAwayReplaced                       // a newer connection of the same instance took over
	GoAwayStopped                        // the edge stops
)

// String returns the reason as it stands in Info.Reason.
func (k GoAwayKind) String() string {
	switch k {
	case GoAwayRefused:
		return "refused"
	case GoAwayDrain:
		return "server is stopping"
	case GoAwayFenced:
		return "taken over by another instance"
	case GoAwayReplaced:
		return "replaced by a newer connection"
	case GoAwayStopped:
		return "edge is stopping"
	default:
		return "ended by the peer"
	}
}

// Field numbers of message Frame.
const (
	numHello protowire.Number = iota + 1
	numWelcome
	numGoAway
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
	NumOpen
	numResponse
	numMarks
	numEvent
	numRefusal
	numBatch
	numOpening
)

// Number is the field of message Frame that a frame is.
func Number(f Frame) protowire.Number { return f.number() }

func (Hello) number() protowire.Number    { return numHello }
func (Welcome) number() protowire.Number  { return numWelcome }
func (GoAway) number() protowire.Number   { return numGoAway }
func (Ping) number() protowire.Number     { return numPing }
func (Pong) number() protowire.Number     { return numPong }
func (Digest) number() protowire.Number   { return numDigest }
func (Want) number() protowire.Number     { return numWant }
func (Versions) number() protowire.Number { return numVersions }
func (Put) number() protowire.Number      { return numPut }
func (Ack) number() protowire.Number      { return numAck }
func (Nack) number() protowire.Number     { return numNack }
func (Fragment) number() protowire.Number { return numFragment }
func (Cancel) number() protowire.Number   { return numCancel }
func (Open) number() protowire.Number     { return NumOpen }
func (Response) number() protowire.Number { return numResponse }
func (Marks) number() protowire.Number    { return numMarks }
func (Event) number() protowire.Number    { return numEvent }
func (Refusal) number() protowire.Number  { return numRefusal }
func (Batch) number() protowire.Number    { return numBatch }
func (Opening) number() protowire.Number  { return numOpening }
