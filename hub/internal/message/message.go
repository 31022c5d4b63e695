package message

import (
	"context"
	"fmt"
	"time"
)

// Operation says what a Message asks for. The seven values are those that
// MetaManager knows.
type Operation uint8

// The operations. Zero is not one of them: a message without an operation is
// refused by the decoder.
const (
	Insert         Operation = iota + 1 // the object is new to the receiver
	Update                              // the object replaces what the receiver has
	Delete                              // the object is gone
	Query                               // asks for an object or an action, answered by a Response
	Response                            // answers a Query
	NodeConnection                      // the node came or went; made on either side by the link itself
	MetaSync                            // part of a comparison of what both sides hold
)

var operationNames = [...]string{
	Insert: "insert", Update: "update", Delete: "delete", Query: "query",
	Response: "response", NodeConnection: "node connection", MetaSync: "meta sync",
}

// String returns the operation's name in lower case, for logs.
func (o Operation) String() string {
	if o.Valid() {
		return operationNames[o]
	}
	return fmt.Sprintf("operation(%d)", uint8(o))
}

// Valid reports whether o is one of the seven operations.
func (o Operation) Valid() bool { return o >= Insert && o <= MetaSync }

// Key names one object on the link. Resource is a plural in lower case, with
// an optional sub-resource after a slash ("pods", "pods/status"); Namespace is
// empty for what belongs to no namespace. hub gives the three no other
// meaning.
type Key struct {
	Resource  string
	Namespace string
	Name      string
}

// String returns resource/namespace/name, for logs.
func (k Key) String() string { return k.Resource + "/" + k.Namespace + "/" + k.Name }

// Message is the one envelope of the link. Body is opaque to hub; its owner
// says what is in it (edgekit sends the JSON of the object).
type Message struct {
	ID        uint64 // set by the sending peer, unique within a session; a Response repeats its Query's
	Operation Operation
	Key       Key
	Version   string // the object's version in its owner's terms; empty where it has none
	Body      []byte
	Error     *Error // on a Response that failed, else nil
}

// Code classifies an Error that crosses the wire, so that the far side can
// branch on it. Codes are never reused.
type Code uint16

// The codes of errors that cross the wire.
const (
	CodeUnknown     Code = iota // the far side failed and did not say how
	CodeInvalid                 // the request can never succeed as it is
	CodeNotFound                // what it names does not exist
	CodeForbidden               // this peer may not do that
	CodeConflict                // it lost against a newer version
	CodeUnavailable             // try again later: RetryAfter may say when
	CodeExhausted               // a limit was reached; the text names it
	CodeDeadline                // the deadline passed at the far side
	CodeUnsupported             // the far side does not know the resource or operation
)

// Error is a failure at the far side of a link. It carries no stack and no local detail,
// only what the peer chose to send.
type Error struct {
	Code Code
	Text string
	// RetryAfter is when it may be tried again, counted from its arrival; zero means that
	// the peer did not say. It has meaning with CodeUnavailable and CodeExhausted.
	RetryAfter time.Duration
}

// Error returns the text of the far side, marked as such.
func (e *Error) Error() string { return "hub: peer: " + e.Text }

// Final reports whether asking again can never help: CodeInvalid,
// CodeForbidden and CodeUnsupported.
func (e *Error) Final() bool {
	return e.Code == CodeInvalid || e.Code == CodeForbidden || e.Code == CodeUnsupported
}

// Is makes errors.Is(err, &Error{Code: c}) true for every Error with that code
// and an empty text in the target. An Error with CodeDeadline also is
// context.DeadlineExceeded.
func (e *Error) Is(target error) bool {
	if t, ok := target.(*Error); ok {
		return t.Code == e.Code && (t.Text == "" || t.Text == e.Text)
	}
	return e.Code == CodeDeadline && target == context.DeadlineExceeded
}
