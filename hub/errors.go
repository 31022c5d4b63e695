package hub

import (
	"errors"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// Errors that callers branch on.
var (
	// ErrOffline is returned for a call or stream to a peer that has no
	// session now. Nothing was sent.
	ErrOffline = errors.New("hub: peer is offline")
	// ErrInterrupted is returned for a call or stream whose link went, or
	// whose other side gave up, before it was done. The peer may have acted or
	// not.
	ErrInterrupted = errors.New("hub: interrupted")
	// ErrTooLarge is returned for a message over the size that both sides
	// agreed on. Nothing was sent.
	ErrTooLarge = message.ErrTooLarge
	// ErrProtocol is wrapped by the errors of a peer that does not keep to the
	// protocol. Its session ends.
	ErrProtocol = message.ErrProtocol
	// ErrLagging is what Source.Load returns when the owner cannot yet say what
	// the truth is: its view is older than what the other side has already seen.
	// The session keeps the key and asks again.
	ErrLagging = message.ErrLagging
	// ErrStarted is returned by a second Run of one Client, Server or join.Identity,
	// during the first and after it.
	ErrStarted = errors.New("hub: Run was called before")
)

// FencedError says that another program with this node's identity has the node.
// Were both to go on connecting they would fight for ever, so this one waits
// until the other has been gone for some minutes; see Client.Fenced. Remedy: give
// one of the two machines an identity of its own.
type FencedError struct {
	Node     string
	Instance string // this program's instance, the one that lost
	Epoch    uint64 // the epoch of the session that won; 0 if the server did not say
	Holder   string // what the server said of the program that won, for humans; often empty
}

// Error names the node and what to do.
func (e *FencedError) Error() string {
	text := fmt.Sprintf("hub: node %q was taken over by another program with the same identity; give one of the two machines an identity of its own", e.Node)
	if e.Holder != "" {
		text += " (" + e.Holder + ")"
	}
	return text
}

// RefusedError says that the server refuses this edge for a reason that trying
// again does not heal: an identity that is not allowed, or protocol versions
// without overlap.
type RefusedError struct {
	Node string
	Err  *Error // what the server said
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("hub: node %q is refused: %s", e.Node, e.Err.Text)
}

// Unwrap gives the server's own error.
func (e *RefusedError) Unwrap() error { return e.Err }

// closedByPeer is the end of a session that the peer announced.
type closedByPeer struct{ goAway wire.GoAway }

func (e *closedByPeer) Error() string {
	if e.goAway.Err != nil {
		return "hub: peer ended the session: " + e.goAway.Kind.String() + ": " + e.goAway.Err.Text
	}
	return "hub: peer ended the session: " + e.goAway.Kind.String()
}

// isFinal reports whether trying again can never help.
func isFinal(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Final()
}

// retryAfter is the wait that err asks for, or zero.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	if f, ok := errors.AsType[*closedByPeer](err); ok && f.goAway.Err != nil {
		return f.goAway.Err.RetryAfter
	}
	return 0
}
