package hub

import (
	"crypto/tls"
	"crypto/x509"
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
	// ErrInterrupted is returned for a call or stream whose link was lost, or whose other
	// side gave up, before it was done. The peer may have acted or not.
	ErrInterrupted = errors.New("hub: interrupted")
	// ErrTooLarge is returned for a message over the size that both sides
	// agreed on. Nothing was sent.
	ErrTooLarge = message.ErrTooLarge
	// ErrProtocol is wrapped by the errors for a peer that violates the protocol. Its
	// session ends.
	ErrProtocol = message.ErrProtocol
	// ErrLagging is returned by Source.Load when the owner's view is older than what the
	// other side has already seen. The session keeps the key and asks again.
	ErrLagging = message.ErrLagging
	// ErrStarted is returned by a second Run of one Client, Server or join.Identity,
	// during the first and after it.
	ErrStarted = errors.New("hub: Run was called before")
)

// FencedError says that another program with this node's identity has the node. If both went
// on connecting, each would end the other's session again and again, so this one waits until
// the other has been gone for some minutes; see Client.Fenced. To mend it, give one of the
// two machines an identity of its own.
type FencedError struct {
	Node     string
	Instance string // this program's instance, the one that lost
	Epoch    uint64 // the epoch of the session that won; 0 if the server did not say
	Holder   string // the server's description of the program that won, for humans; often empty
}

// Error names the node and what to do.
func (e *FencedError) Error() string {
	text := fmt.Sprintf("hub: node %q was taken over by another program with the same identity; give one of the two machines an identity of its own", e.Node)
	if e.Holder != "" {
		text += " (" + e.Holder + ")"
	}
	return text
}

// RefusedError says that the server refuses this edge for a reason that another attempt cannot
// change: an identity that is not allowed, or no protocol version in common.
type RefusedError struct {
	Node string
	Err  *Error // what the server said
}

// Error names the node and gives the server's reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("hub: node %q is refused: %s", e.Node, e.Err.Text)
}

// Unwrap returns the server's own error.
func (e *RefusedError) Unwrap() error { return e.Err }

// closedByPeer is the end of a session that the peer announced.
type closedByPeer struct{ goAway wire.GoAway }

func (e *closedByPeer) Error() string {
	if e.goAway.Err != nil {
		return "hub: peer ended the session: " + e.goAway.Kind.String() + ": " + e.goAway.Err.Text
	}
	return "hub: peer ended the session: " + e.goAway.Kind.String()
}

// isFinal reports whether another attempt can never help.
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

// TLS alerts by which a peer refuses a certificate (RFC 8446 section 6.2).
const (
	alertBadCertificate      = 42
	alertUnsupported         = 43
	alertRevoked             = 44
	alertExpired             = 45
	alertUnknown             = 46
	alertUnknownCA           = 48
	alertAccessDenied        = 49
	alertCertificateRequired = 116
)

// CertificateError is for transports. It converts the TLS alert with which the server refused
// the edge's certificate, in Dial or at the first use of the Conn, into an Error. It returns
// nil for other alerts. All of these errors are final except the one for an expired
// certificate, which may have been renewed by the next attempt.
func CertificateError(alert uint8) *Error {
	switch alert {
	case alertExpired:
		return &Error{Code: CodeUnavailable, Text: "the cloud finds this node's certificate expired: it must be renewed, or the node joined again; check both clocks"}
	case alertCertificateRequired:
		return &Error{Code: CodeForbidden, Text: "the link needs a client certificate: join this node first"}
	case alertUnknownCA:
		return &Error{Code: CodeForbidden, Text: "this node's certificate is not of this cloud's authority: join this node again"}
	case alertRevoked, alertAccessDenied:
		return &Error{Code: CodeForbidden, Text: "the cloud does not admit this node's certificate any more: join this node again"}
	case alertBadCertificate, alertUnsupported, alertUnknown:
		return &Error{Code: CodeForbidden, Text: "the cloud refuses this node's certificate: join this node again"}
	}
	return nil
}

// unverified adds a remedy to the error of a dial whose server certificate does not verify
// here. It returns every other error unchanged.
func unverified(err error, now time.Time) error {
	failed, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return err
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](failed.Err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("the cloud's certificate is not valid at this machine's time, %s: set the clock, or renew the cloud's certificate: %w",
			now.UTC().Format(time.RFC3339), err)
	}
	return fmt.Errorf("the cloud's certificate is not one that this node trusts: check the address, or join this node again: %w", err)
}
