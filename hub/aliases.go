package hub

import (
	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/replica"
)

// The value types of the link are defined one folder down, where the codec and the
// pure machines use them as well.

// Key names one object on the link by three strings: Resource is a plural in lower case with
// an optional subresource after a slash ("pods", "pods/status"), Namespace is empty for
// cluster-scoped objects, Name is the object's name. hub itself does not interpret them.
// String returns resource/namespace/name, for logs.
type Key = message.Key

// Message is the one envelope of the link. Its fields are:
//
//	ID        uint64    // set by the sending peer, unique within a session; a Response repeats its Query's
//	Operation Operation // what is asked for
//	Key       Key       // the object
//	Version   string    // in the owner's terms; empty where it has none
//	Body      []byte    // opaque to hub; edgekit sends the JSON of the object
//	Error     *Error    // on a failed Response, otherwise nil
type Message = message.Message

// Operation says what a Message asks for. The seven values are those that
// MetaManager knows; zero is not one of them. Valid reports whether a value is one
// of the seven, String gives its name in lower case.
type Operation = message.Operation

// The operations. A message without one is refused by the decoder.
const (
	Insert         = message.Insert         // the object is new to the receiver
	Update         = message.Update         // the object replaces what the receiver has
	Delete         = message.Delete         // the object is gone
	Query          = message.Query          // asks for an object or an action, answered by a Response
	Response       = message.Response       // answers a Query
	NodeConnection = message.NodeConnection // the node came or went; made on either side by the link itself
	MetaSync       = message.MetaSync       // part of a comparison of what both sides hold
)

// Object is one piece of keyed state on its way to the side that does not own it.
// Its fields are:
//
//	Key     Key
//	Version string // in the owner's terms; hub compares it only through Source.Compare
//	Body    []byte // opaque; for a deleted object what the receiver needs to delete it, often nil
//	Deleted bool   // the object was deleted; Version is then that of its deletion, if known
//	Trace   string // W3C traceparent of a sampled span that goes on at the other side; usually empty
//
// A Trace travels with the object and is not part of what is compared or stored. A Sink gets only a
// well-formed one (see Traceparent), or none, for example from a peer of an earlier release. It is the
// peer's word: a receiver that does not trust its peer bounds what it does for it.
type Object = message.Object

// Traceparent returns text if it is a W3C traceparent of version 00 with the flag "sampled", and
// otherwise "".
func Traceparent(text string) string { return message.Traceparent(text) }

// Event is one thing that happened. Unlike an Object it is never replaced by a later
// one: each arrives, in the order of its source. Its fields are:
//
//	Source string // the sequence that the event was appended to, see below
//	ID     uint64 // from 1, larger than that of each earlier event of the source; there may be gaps
//	Key    Key    // what it is about, in the owner's terms
//	Body   []byte // opaque
//
// Source names a component such as "edged", not an object, so that there are few
// sources. An Outbox that has lost count of a sequence continues under a new name,
// for example one with a random suffix: the receiver takes ids that were used before
// for applied. The session logs that, and Stats.EventsPresumed counts it.
type Event = message.Event

// Error is a failure at the far side of a link. It carries no stack and no local detail,
// only what the peer chose to send. Its fields are:
//
//	Code       Code
//	Text       string
//	RetryAfter time.Duration // when it may be tried again, counted from its arrival; 0 says nothing
//
// RetryAfter has meaning with CodeUnavailable and CodeExhausted. Final reports
// whether asking again can never help: CodeInvalid, CodeForbidden and
// CodeUnsupported. errors.Is(err, &Error{Code: c}) is true for every Error with that
// code; one with CodeDeadline also is context.DeadlineExceeded.
type Error = message.Error

// Code classifies an Error that crosses the wire, so that the far side can branch on
// it. Codes are never reused.
type Code = message.Code

// The codes of errors that cross the wire.
const (
	CodeUnknown     = message.CodeUnknown     // the far side failed and did not say how
	CodeInvalid     = message.CodeInvalid     // the request can never succeed as it is
	CodeNotFound    = message.CodeNotFound    // what it names does not exist
	CodeForbidden   = message.CodeForbidden   // this peer may not do that
	CodeConflict    = message.CodeConflict    // it lost against a newer version
	CodeUnavailable = message.CodeUnavailable // try again later: RetryAfter may say when
	CodeExhausted   = message.CodeExhausted   // a limit was reached; the text names it
	CodeDeadline    = message.CodeDeadline    // the deadline passed at the far side
	CodeUnsupported = message.CodeUnsupported // the far side does not know the resource or operation
)

// Limits bound what one session may use. Each side announces its own in the handshake. A
// peer that exceeds them loses its session. The zero value means the defaults. The fields,
// all int, are:
//
//	MaxFrame     // the largest message accepted, in bytes, body and envelope together: 4 MiB
//	Window       // objects of state under way here without an acknowledgement: 256
//	WindowBytes  // bytes that those may have together; one larger object may travel alone: 1 MiB
//	MaxKeys      // keys that the peer may list when both sides compare what they hold: 100,000
//	MaxCalls     // calls of the peer that are answered at once; one more gets CodeExhausted: 64
//	MaxStreams   // streams of the peer that are open at once; one more gets CodeExhausted: 4096
//	MaxCallBytes // bytes that the peer's calls and streams hold here together: 32 MiB, or MaxFrame if larger
//
// MaxCallBytes counts each opening frame from its arrival until it has been served,
// and each answer until the peer has read it. Those of up to 4 KiB do not count. An
// opening frame that does not fit waits for up to 10 s, an answer does not wait; then
// the caller gets CodeExhausted and may try again.
type Limits = message.Limits

// Claim is who holds a node. A server remembers the claims of its own nodes;
// several servers of one cloud share them through Node.Claim, which stores a
// Claim without looking into it, for example as JSON. Its fields are:
//
//	Epoch    uint64   // of the newest session
//	Instance string   // the program that has it, or had it last; empty if none
//	Address  string   // from which that program connected, for humans
//	Dial     uint64   // the program's count of its connections
//	Fenced   []string // instances that lost, oldest first
//	Earlier  []string // earlier runs of the program that has it
//	EndedAt  uint64   // not in JSON
//
// EndedAt is since when the node has had no session at any server, in microseconds since
// 1970; 0 while it has one or that is not known. A value that is not above Epoch belongs
// to an earlier session and is ignored. A claim that servers share is stored without it:
// Node.Claim sets it, if it knows, before it calls decide.
type Claim = replica.Claim
